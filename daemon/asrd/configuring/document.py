"""What `CONFIGURATION.md` says before its tables of keys."""

INTRODUCTION = """\
# Configuration

This file is written by the code: the meaning, range and reason of each key stand beside it
there. The same words are in the annotated file that `asrd config init` writes.

## Layers

What is said in several places is merged key by key; the later of these wins:

1. the defaults,
2. `/etc/asrd/config.toml`, the system's file,
3. `$XDG_CONFIG_HOME/asrd/config.toml`, the user's (`~/.config/asrd/config.toml` where the
   variable is not set),
4. the file of `--config FILE`,
5. the environment, as `ASRD_LIMITS__MAX_SESSIONS=500`,
6. the flags of `asrd serve`.

A file that is not there says nothing, but for that of `--config`, without which the daemon ends
with 66. A file has at most 1 MiB. `asrd serve` and the daemon that `asrd transcribe`, `asrd
pipe` and `asrd listen` start for themselves read the same layers, and `kill -HUP` has a running
daemon read all of them again.

A model is one of its provider. A layer that names another `provider` and no `model` means that
provider's own default, whatever the layers below it say.

```sh
asrd config init            # write the annotated file to where the user's is looked for
asrd config init --system   # or the system's
asrd config check           # every problem at once, and 78 as the exit code; or `ok`
asrd config show --origin   # what is in force, and where each value comes from
```

Everything that is wrong is told at once, a line for each, with its place, its key, the range
and the reason:

```
/etc/asrd/config.toml: endpointing_ms: 50 is out of range, 100 to 5000: \
under 100 ms speech is cut into fragments, over 5000 ms it feels dead
```

## Files

Files are TOML, and strict: `true` is no number, and neither is `"5"`. Where a key may have no
value, such as no limit, the word for it is `"none"`: TOML has no null, and a file has to be
able to take back what one below it has set. An amount of memory is `2GB`, `512MiB` or a share
of what the machine has, `60%`. A `~` at the beginning of a path is the home of the user that
the daemon runs as.

## The environment

The name of a variable is `ASRD_`, and the parts of the key in capitals with `__` between them:

```sh
ASRD_ENDPOINTING_MS=800
ASRD_LIMITS__MAX_SESSIONS=500
ASRD_RESIDENCY__IDLE_TTL_S=none
ASRD_FALLBACK='["whisper_cpp/base", "moonshine"]'
ASRD_PROVIDERS__FASTER_WHISPER__SETTINGS__COMPUTE_TYPE=int8
ASRD_PROVIDERS__OPENAI__SETTINGS__API_KEY__FILE=/run/secrets/openai
```

A value is read as what its key takes; a provider's own setting as a number, `true` or `false`
where it looks like one, and else as text. Lists are JSON. An empty variable says nothing. Names
that are no key are an error within a table; at the top level, where other programs set
variables such as `ASRD_PORT`, they are a warning in the log. Names of providers, groups and
sources that a variable gives are in lower case. `ASRD_DEBUG=1`, which shows tracebacks, is no
key.

## Secrets

A secret is named and not written. A provider's setting may be

```toml
[providers.openai.settings]
api_key = { file = "/etc/asrd/openai-key" }
token = { credential = "openai-token" }
```

`file` is an absolute path. `credential` is the name of a systemd credential, which
`LoadCredential=` puts into `$CREDENTIALS_DIRECTORY`. Either has at most 64 KiB of UTF-8 text,
whose last newline is no part of it, and is read whenever the configuration is. A secret file
that others can read is told in the log.

No log, no error and no `asrd config show` tells a secret: each is `***`. So is a setting
written down as it is whose name has one of the words key, token, secret, password, passphrase
in it (but `text_key`, `final_key` and the like, which name places in what a program prints).
Such a setting is refused on the command line, where everybody on the machine could read it.

## Keys

What needs a restart says so; all else counts from the next SIGHUP on, for whatever begins after
it.
"""
