from tuneyard.gateway.dispatch import job_error
from tuneyard.rpc.errors import TuneyardError, Violation, invalid_fields


def test_a_refused_job_is_told_once_what_is_wrong_and_which_fields_to_change() -> None:
    wrong = [
        Violation("spec.hyperparameters.batch_size", "A batch of 16 is larger than the 14 images."),
        Violation("spec.seed", "is odd"),
        Violation("spec.seed", "is small"),
    ]
    error = job_error(invalid_fields(wrong), stage="start")
    assert "larger than the 14 images" in error.message
    assert error.remedies == ["Change spec.hyperparameters.batch_size, spec.seed, and train again."]
    assert not job_error(TuneyardError("TRAINER_UNAVAILABLE", "gone"), stage="start").remedies
