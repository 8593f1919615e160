"""One exchange with a finished language model: what is asked, and the answer as it comes.

`chat` and `generate` are made of it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import typer

from tuneyard.cli.session import Session
from tuneyard.datasets.words import counted
from tuneyard.v1 import inference_service_pb2 as pb

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What a terminal would obey; a model's words are no commands to it."""

Temperature = Annotated[
    float | None,
    typer.Option(
        help="How freely words are drawn; 0 takes the likeliest. Default: 0.7.",
        min=0,
        max=10,
        show_default=False,
    ),
]
TopP = Annotated[
    float | None,
    typer.Option(help="The probability mass to draw from. Default: 0.95.", min=0, max=1, show_default=False),
]
MaxNewTokens = Annotated[
    int | None,
    typer.Option(help="The longest answer, in tokens. Default: 256.", min=1, max=65536, show_default=False),
]
Seed = Annotated[
    int | None, typer.Option(help="For the same answer again. Default: drawn.", min=0, show_default=False)
]
Stop = Annotated[
    list[str], typer.Option(help="A text that ends the answer; may be repeated.", show_default=False)
]


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How answers are made; what is None is the server's to choose."""

    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None
    seed: int | None = None
    stop: Sequence[str] = ()

    def request(self, job: str, turns: Sequence[pb.ChatTurn], *, base: bool) -> pb.GenerateTextRequest:
        """The request for the next answer of a conversation."""
        return pb.GenerateTextRequest(
            job=job,
            messages=turns,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=self.stop,
            compare_with_base=base,
        )


@dataclass
class Answer:
    """What one model has said so far."""

    text: str = ""
    last: pb.GenerateTextResponse = field(default_factory=pb.GenerateTextResponse)

    def add(self, piece: pb.GenerateTextResponse) -> None:
        """Takes in the next piece."""
        self.text += piece.text
        self.last = piece

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "text": self.text,
            "tokens": self.last.token_count,
            "finishReason": pb.FinishReason.Name(self.last.finish_reason).removeprefix("FINISH_REASON_"),
        }


@dataclass
class Exchange:
    """The answers to one request: the tuned model's and, where it is asked too, its base's."""

    request: pb.GenerateTextRequest
    tuned: Answer = field(default_factory=Answer)
    base: Answer = field(default_factory=Answer)

    def follow(self, session: Session) -> None:
        """Receives the answers, and without --json writes them as they come. What came before an error or an
        interrupt stays in the answers.
        """
        compares = self.request.compare_with_base
        pieces = session.client.inference.generate_text(self.request)
        waiting = session.err.status("waiting for the model, which is loaded if it is not there yet")
        speaker = None
        if session.err.is_terminal:
            waiting.start()
        try:
            for piece in pieces:
                waiting.stop()
                answer = self.base if piece.from_base else self.tuned
                if speaker is not answer and not session.json:
                    _begin(
                        session, "base" if piece.from_base else "tuned", titled=compares, first=not speaker
                    )
                speaker = answer
                answer.add(piece)
                if not session.json:
                    say(session, piece.text)
        finally:
            waiting.stop()
            pieces.close()
            if speaker is not None and not session.json:
                say(session, "\n")

    def document(self) -> dict[str, Any]:
        """For JSON."""
        last = self.tuned.last
        compared = {"base": self.base.document()} if self.request.compare_with_base else {}
        return {
            "job": self.request.job,
            "answer": self.tuned.document(),
            **compared,
            "promptTokens": last.prompt_token_count,
            "seed": last.seed,
        }

    def remark(self) -> str:
        """What a person should know of how the answers ended; "" where they are whole."""
        reasons = {self.tuned.last.finish_reason, self.base.last.finish_reason}
        if pb.FINISH_REASON_CONTEXT_FULL in reasons:
            return "the model's context is full: begin a new conversation"
        if pb.FINISH_REASON_MAX_NEW_TOKENS in reasons:
            return f"cut after {counted(self.tuned.last.token_count, 'token')}: --max-new-tokens allows more"
        return ""


def say(session: Session, text: str) -> None:
    """Writes a model's words as they are: no markup, no line breaks of our own, tabs kept."""
    session.out.file.write(_CONTROLS.sub("", text) if session.out.is_terminal else text)
    session.out.file.flush()


def answer_once(session: Session, request: pb.GenerateTextRequest) -> None:
    """One exchange, told to people or as one document."""
    exchange = Exchange(request)
    exchange.follow(session)
    if session.json:
        session.document(exchange.document())
    if remark := exchange.remark():
        session.err.print(f"[dim]{remark}[/]")


def _begin(session: Session, name: str, *, titled: bool, first: bool) -> None:
    if titled:
        session.out.print(("" if first else "\n\n") + f"[bold]{name}:[/]")
