"""What was asked for when a stream was opened, as far as its audio goes."""

from dataclasses import dataclass

from asrd.audio import PcmFormat
from asrd.session.endpoint import EndpointRule


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRule:
    """How a stream's audio is to be treated, from its opening to its end.

    `window_s` is, on a lossless stream, the credit ahead of the commit; on a live one, the audio
    held before the oldest is dropped. `partial_interval_s` is None where no partials are wanted.
    `agreement` readings in a row have to agree on what is told as stable.
    """

    pcm_format: PcmFormat
    endpoint_rule: EndpointRule
    is_lossless: bool
    window_s: float
    partial_interval_s: float | None
    agreement: int = 2
    start_offset: int = 0
    start_id: int = 0
