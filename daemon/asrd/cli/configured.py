"""What the configuration says, for commands that talk to no daemon."""


def configured_provider() -> str:
    """The provider of streams that name none. Costs next to nothing where nothing is configured.

    Raises:
        StartupError: the configuration makes no sense.
    """
    from asrd.config import Config
    from asrd.configuring.layers import usual_places
    from asrd.configuring.reading import read

    places = usual_places()
    if not places.is_anything_there:
        return Config().provider
    return read(places, with_secrets=False).config.provider
