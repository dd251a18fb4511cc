"""Where the configuration comes from: layers of one shape, merged key by key, checked once.

Defaults < the system's file < the user's file < `--config` < the environment < flags. Each layer is
a partial tree of the keys of `Config`; every value has one origin, which errors and
`asrd config show --origin` name.
"""
