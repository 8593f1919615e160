"""`tuneyard chat` and `tuneyard generate` with a language model."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.fake_gateway import FakeGateway
from tuneyard.cli.chat import Conversation
from tuneyard.cli.session import Session
from tuneyard.cli.talking import Manner
from tuneyard.rpc.errors import TuneyardError, invalid
from tuneyard.v1 import inference_service_pb2 as pb
from tuneyard.v1 import training_pb2
from tuneyard.v1.job_pb2 import Job, JobSpec
from tuneyard.v1.training_service_pb2 import GetJobResponse


def answer(request: pb.GenerateTextRequest, context: object) -> Iterator[pb.GenerateTextResponse]:
    """ "yes to …", piece by piece, and where it is asked for the base's "no"."""
    yield pb.GenerateTextResponse(text="yes ", token_count=1)
    yield pb.GenerateTextResponse(text=f"to {request.messages[-1].content}", token_count=3)
    yield pb.GenerateTextResponse(
        done=True,
        token_count=3,
        prompt_token_count=9,
        seed=7,
        finish_reason=pb.FINISH_REASON_END_OF_ANSWER,
    )
    if request.compare_with_base:
        yield pb.GenerateTextResponse(text="no", token_count=1, from_base=True)
        yield pb.GenerateTextResponse(
            done=True, from_base=True, token_count=1, finish_reason=pb.FINISH_REASON_STOP
        )


@pytest.fixture
def talker(gateway: FakeGateway) -> FakeGateway:
    spec = JobSpec(training=training_pb2.TrainingSpec(language_model={}))
    gateway.answer("GetJob", GetJobResponse(job=Job(name="jobs/0198", spec=spec)))
    gateway.on("GenerateText", answer)
    return gateway


@pytest.fixture
def converse(talker: FakeGateway) -> Callable[..., None]:
    """A conversation in which a person says these lines; an exception stands for a key."""

    def run(*lines: str | type[BaseException], **settings: object) -> None:
        said = iter(lines)

        def read(prompt: str) -> str:
            line = next(said, EOFError)
            if isinstance(line, str):
                return line
            raise line

        session = Session(server=talker.address, token=None)
        made = {"system": "", "base": False, **settings}
        try:
            Conversation(session, "jobs/0198", Manner(), **made).run(read)  # type: ignore[arg-type]
        finally:
            session.close()

    return run


def asked(gateway: FakeGateway) -> list[list[tuple[str, str]]]:
    """The conversations that were sent."""
    return [
        [(turn.role, turn.content) for turn in request.messages]
        for request in gateway.requests["GenerateText"]
    ]


@pytest.mark.parametrize("command", ["chat", "generate"])
def test_a_prompt_is_answered_on_standard_output(talker: FakeGateway, run, command: str) -> None:
    ran = run(command, "0198", "[one]\ttab?")
    assert (ran.code, ran.out) == (0, "yes to [one]\ttab?\n")
    assert asked(talker) == [[("user", "[one]\ttab?")]]


def test_what_is_piped_in_is_one_question(talker: FakeGateway, run) -> None:
    assert run("chat", "0198", stdin="one\n\ntwo?\n").out == "yes to one\n\ntwo?\n"


def test_nothing_to_answer_is_wrong_usage(talker: FakeGateway, run) -> None:
    assert run("chat", "0198", stdin=" \n").code == 2


def test_the_options_reach_the_model_and_what_is_unset_is_left_to_the_server(
    talker: FakeGateway, run
) -> None:
    run("chat", "0198", "x", "--system", "Be brief.", "--temperature", 0, "--stop", "a", "--stop", "b")
    run("chat", "0198", "x", "--top-p", 0.5, "--max-new-tokens", 9, "--seed", 3)
    first, second = talker.requests["GenerateText"]
    assert [turn.role for turn in first.messages] == ["system", "user"]
    assert (first.HasField("temperature"), first.temperature, first.stop) == (True, 0, ["a", "b"])
    assert not first.HasField("max_new_tokens") and not first.HasField("seed")
    assert (second.top_p, second.max_new_tokens, second.seed) == (0.5, 9, 3)


def test_the_base_answers_below_the_tuned_model(talker: FakeGateway, run) -> None:
    assert run("chat", "0198", "x", "--base").out == "tuned:\nyes to x\n\nbase:\nno\n"


def test_json_is_one_document_with_both_answers(talker: FakeGateway, run) -> None:
    assert run("chat", "0198", "x", "--base", "--json").document == {
        "job": "jobs/0198",
        "answer": {"text": "yes to x", "tokens": 3, "finishReason": "END_OF_ANSWER"},
        "base": {"text": "no", "tokens": 1, "finishReason": "STOP"},
        "promptTokens": 9,
        "seed": 7,
    }
    assert "base" not in run("chat", "0198", "x", "--json").document


def test_an_answer_that_was_cut_says_how_to_get_more(talker: FakeGateway, run) -> None:
    cut = pb.GenerateTextResponse(
        text="a", done=True, token_count=256, finish_reason=pb.FINISH_REASON_MAX_NEW_TOKENS
    )
    talker.on("GenerateText", lambda request, context: iter([cut]))
    ran = run("chat", "0198", "x")
    assert (ran.out, "--max-new-tokens" in ran.err) == ("a\n", True)


def test_a_refused_question_ends_with_its_reason(talker: FakeGateway, run) -> None:
    talker.fail("GenerateText", invalid("messages", "the conversation has 9000 tokens"))
    ran = run("chat", "0198", "x")
    assert (ran.code, "9000 tokens" in ran.err) == (2, True)


def test_a_conversation_remembers_what_was_said(talker: FakeGateway, converse, capsys) -> None:
    converse("one", "", "two", system="Be brief.")
    assert capsys.readouterr().out == "yes to one\nyes to two\n"
    assert asked(talker)[-1] == [
        ("system", "Be brief."),
        ("user", "one"),
        ("assistant", "yes to one"),
        ("user", "two"),
    ]


def test_a_reset_and_a_new_system_text_begin_a_new_conversation(talker: FakeGateway, converse) -> None:
    converse("one", "/reset", "two", "/system Be kind.", "three", "/system", "four")
    assert asked(talker)[1:] == [
        [("user", "two")],
        [("system", "Be kind."), ("user", "three")],
        [("user", "four")],
    ]


def test_the_base_is_heard_while_it_is_on(talker: FakeGateway, converse) -> None:
    converse("one", "/base on", "two", "/base off", "three")
    compared = [request.compare_with_base for request in talker.requests["GenerateText"]]
    assert compared == [False, True, False]


def test_a_question_can_be_asked_again(talker: FakeGateway, converse) -> None:
    converse("/again", "one", "/again")
    assert asked(talker) == [[("user", "one")], [("user", "one")]]


def test_quotes_hold_several_lines_together(talker: FakeGateway, converse) -> None:
    converse('"""one', "two", 'three"""', '"""four"""')
    assert [turns[-1] for turns in asked(talker)] == [("user", "one\ntwo\nthree"), ("user", "four")]


def test_an_unknown_order_is_no_question(talker: FakeGateway, converse, capsys) -> None:
    converse("/rest", "/base maybe", "/exit", "never said")
    assert "GenerateText" not in talker.requests
    assert "/rest is no order here" in capsys.readouterr().err


def test_an_interrupt_at_the_prompt_does_not_leave(talker: FakeGateway, converse) -> None:
    converse(KeyboardInterrupt, "one")
    assert len(asked(talker)) == 1


def test_an_interrupted_answer_is_kept_as_far_as_it_came(
    talker: FakeGateway, converse, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    def interrupted(session: Session, text: str) -> None:
        heard.append(text)
        if heard == ["yes "]:
            raise KeyboardInterrupt

    monkeypatch.setattr("tuneyard.cli.talking.say", interrupted)
    converse("one", "two")
    assert asked(talker)[-1] == [("user", "one"), ("assistant", "yes "), ("user", "two")]


def test_an_error_does_not_end_the_conversation_nor_enter_it(talker: FakeGateway, converse, capsys) -> None:
    talker.fail("GenerateText", TuneyardError("NO_FREE_SLOT", "no device is free: cpu runs jobs/b"))
    converse("one", "two")
    assert "cpu runs jobs/b" in capsys.readouterr().err
    assert asked(talker)[-1] == [("user", "two")]


def test_a_terminal_is_not_steered_by_what_a_model_says(
    talker: FakeGateway, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuneyard.cli.talking import say

    monkeypatch.setenv("FORCE_COLOR", "1")
    session = Session(server=talker.address, token=None)
    assert session.out.is_terminal
    say(session, "a\x1b[2Jb\tc\n")
    assert capsys.readouterr().out == "a[2Jb\tc\n"
