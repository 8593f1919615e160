from tuneyard.trainer.fake.estimate import TASKS, base_models, estimate
from tuneyard.v1.errors_pb2 import ErrorReason
from tuneyard.v1.job_pb2 import JobSpec, MergeSpec
from tuneyard.v1.trainer_service_pb2 import TrainerServiceEstimateRequest, TrainerServiceEstimateResponse
from tuneyard.v1.training_pb2 import DataSplit, Family, Hyperparameters, TrainingSpec


def estimate_of(
    base_model: str, hyperparameters: Hyperparameters | None = None
) -> TrainerServiceEstimateResponse:
    spec = TrainingSpec(base_model=base_model, hyperparameters=hyperparameters)
    return estimate(TrainerServiceEstimateRequest(spec=JobSpec(training=spec)), [])


def test_the_resolved_spec_has_the_scripts_values() -> None:
    answer = estimate_of("fake:steps=50,save=10,eval=5").estimate
    resolved = answer.resolved_spec.training
    assert resolved.hyperparameters.max_steps == answer.total_steps == 50
    assert resolved.checkpoints.save_steps == 10
    assert resolved.hyperparameters.eval_steps == 5
    assert answer.effective_batch_size == 8 and answer.fits


def test_given_values_outrank_the_script() -> None:
    given = Hyperparameters(epochs=3, batch_size=10, gradient_accumulation_steps=3)
    answer = estimate_of("fake:steps=50,samples=100", given)
    assert answer.estimate.total_steps == 3 * 4
    assert not answer.estimate.resolved_spec.training.hyperparameters.HasField("max_steps")


def test_a_resolved_spec_resolves_to_itself() -> None:
    resolved = estimate_of("fake:steps=50,save=10", Hyperparameters(batch_size=4)).estimate.resolved_spec
    again = estimate(TrainerServiceEstimateRequest(spec=resolved), [])
    assert again.estimate.resolved_spec == resolved


def test_what_the_caller_set_is_named() -> None:
    spec = TrainingSpec(
        base_model="fake:",
        hyperparameters=Hyperparameters(epochs=2),
        data_split=DataSplit(max_train_samples=5),
    )
    answer = estimate(TrainerServiceEstimateRequest(spec=JobSpec(training=spec)), [])
    assert set(answer.estimate.given_fields) == {
        "base_model",
        "hyperparameters.epochs",
        "data_split.max_train_samples",
    }


def test_a_mistake_in_the_script_is_a_violation() -> None:
    [violation] = estimate_of("fake:nope=1").estimate.violations
    assert violation.field == "spec.base_model" and "'nope' is unknown" in violation.description


def test_another_base_model_is_unknown() -> None:
    assert estimate_of("resnet50").reason == ErrorReason.ERROR_REASON_UNKNOWN_BASE_MODEL


def test_other_kinds_of_work_are_not_supported() -> None:
    answer = estimate(TrainerServiceEstimateRequest(spec=JobSpec(merge=MergeSpec(source_job="jobs/x"))), [])
    assert answer.reason == ErrorReason.ERROR_REASON_NOT_SUPPORTED


def test_each_family_has_a_catalogue_of_one() -> None:
    assert {family for family, _ in TASKS.values()} == set(Family.values()) - {0}
    for family, tasks in TASKS.values():
        [model] = base_models(family, tasks)
        assert model.id == "fake:" and list(model.tasks) == list(tasks)
