import pytest

from tuneyard.client.errors import InvalidField
from tuneyard.v1 import training_pb2
from tuneyard.web.guide.specs import spec_naming, training_spec


def spec(model_type: str, **settings: object) -> training_pb2.TrainingSpec:
    return training_spec(model_type, "m", "datasets/d", settings)


def test_the_guides_classifier() -> None:
    made = spec("image_classifier", epochs=15, batch_size=16, learning_rate=1e-4, image_size=224)
    assert (made.hyperparameters.epochs, made.hyperparameters.batch_size) == (15, 16)
    assert made.image_classifier.image_size == 224


def test_the_guides_lora_settings() -> None:
    made = spec(
        "llm",
        lora_r=8,
        lora_alpha=16,
        lora_dropout=0.05,
        batch_size=4,
        gradient_accumulation_steps=4,
        learning_rate=2e-4,
        epochs=3,
    )
    lora = made.language_model.lora
    assert (lora.lora_r, lora.lora_alpha, lora.lora_dropout) == (8, 16, 0.05)
    assert made.language_model.method == training_pb2.FINE_TUNING_METHOD_UNSPECIFIED


def test_the_guides_qlora_settings_choose_qlora() -> None:
    made = spec(
        "llm",
        use_4bit=True,
        bnb_4bit_compute_dtype="float16",
        bnb_4bit_quant_type="nf4",
        use_nested_quant=False,
    ).language_model
    assert made.method == training_pb2.FINE_TUNING_METHOD_QLORA
    assert made.quantization.use_4bit
    assert made.quantization.bnb_4bit_compute_dtype == training_pb2.COMPUTE_DTYPE_FLOAT16
    assert made.quantization.bnb_4bit_quant_type == training_pb2.QUANT_TYPE_NF4


def test_no_to_quantisation_is_plain_lora() -> None:
    made = spec("llm", use_4bit=False, use_8bit=False).language_model
    assert not made.HasField("quantization")


@pytest.mark.parametrize(
    "modules", [["q_proj", "v_proj"], "q_proj, v_proj", '["q_proj", "v_proj"]', "q_proj,v_proj,"]
)
def test_target_modules_are_a_list_or_a_text(modules: object) -> None:
    assert list(spec("llm", target_modules=modules).language_model.lora.target_modules) == [
        "q_proj",
        "v_proj",
    ]


def test_a_group_leaves_flat_names_as_they_are() -> None:
    group = {"weight_decay": 0.1}
    made = spec("image_classifier", epochs=2, hyperparameters=group, seed=3)
    assert (made.hyperparameters.epochs, made.hyperparameters.weight_decay, made.seed) == (2, 0.1, 3)
    assert group == {"weight_decay": 0.1}


def test_a_forms_map_is_json() -> None:
    made = spec("image_classifier", class_weights='{"cat": 2}')
    assert dict(made.image_classifier.class_weights) == {"cat": 2.0}


def test_words_and_forms_texts_become_values() -> None:
    made = spec("image_classifier", precision="bf16", pretrained="false", epochs="3", schedule="LINEAR")
    assert made.hyperparameters.precision == training_pb2.PRECISION_BF16
    assert made.hyperparameters.schedule == training_pb2.LEARNING_RATE_SCHEDULE_LINEAR
    assert (made.image_classifier.pretrained, made.hyperparameters.epochs) == (False, 3)


@pytest.mark.parametrize("given", ["clip", "models/clip", "/models/clip"])
def test_a_clip_model_of_the_store_is_called_as_datasets_are(given: str) -> None:
    assert spec("text_to_image", clip_model=given).text_to_image_lora.clip_model == "models/clip"


@pytest.mark.parametrize("given", ["held-out", "datasets/held-out", "/datasets/held-out"])
def test_a_dataset_to_validate_on_is_called_as_the_one_to_train_on(given: str) -> None:
    assert spec("llm", validation_dataset=given).data_split.validation_dataset == "datasets/held-out"


@pytest.mark.parametrize("given", ["", "org/clip", "models/"])
def test_what_is_no_name_of_the_store_is_left_as_it_is(given: str) -> None:
    assert spec("text_to_image", clip_model=given).text_to_image_lora.clip_model == given


@pytest.mark.parametrize(
    ("model_type", "settings", "field"),
    [
        ("llm", {"lora_rank": 8}, "lora_rank"),
        ("image_classifier", {"lora_r": 8}, "lora_r"),
        ("image_classifier", {"precision": "fp64"}, "precision"),
        ("image_classifier", {"pretrained": "perhaps"}, "pretrained"),
        ("poem", {}, "model_type"),
        ("image_classifier", {"language_model": {}}, "language_model"),
        ("image_classifier", {"hyperparameters": {"epochs": 1}, "epochs": 2}, "epochs"),
        ("image_classifier", {"epochs": 2, "hyperparameters": 1}, "epochs"),
        ("image_classifier", {"epochs": "many"}, "epochs"),
        ("image_classifier", {"seed": 2**70}, "seed"),
        ("image_classifier", {"learning_rate": float("nan")}, "learning_rate"),
        ("image_classifier", {"hyperparameters": 5}, "hyperparameters"),
        ("image_classifier", {"hyperparameters": {"epochs": "many"}}, "hyperparameters.epochs"),
        ("text_to_image", {"image_size": "large"}, "image_size"),
        ("llm", {"target_modules": [3]}, "target_modules"),
    ],
)
def test_what_cannot_be_is_named(model_type: str, settings: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidField) as caught:
        spec(model_type, **settings)
    assert caught.value.violations[0].field == field


@pytest.mark.parametrize(
    ("model_type", "given", "path", "own"),
    [
        ("llm", (), "spec.language_model.lora.lora_r", "lora_r"),
        ("llm", ("lora_r",), "spec.language_model.lora", "lora_r"),
        ("llm", ("use_8bit",), "spec.language_model.quantization.use_8bit", "use_8bit"),
        ("llm", ("max_seq_length",), "spec.language_model.max_length", "max_seq_length"),
        ("llm", (), "spec.language_model.max_length", "max_length"),
        ("llm", ("target_modules",), "spec.language_model.lora.target_modules[1]", "target_modules[1]"),
        ("text_to_image", ("image_size",), "spec.text_to_image_lora.resolution", "image_size"),
        ("text_to_image", ("resolution",), "spec.text_to_image_lora.resolution", "resolution"),
        ("image_classifier", ("hyperparameters",), "spec.hyperparameters.epochs", "hyperparameters.epochs"),
        ("image_classifier", ("epochs", "hyperparameters"), "spec.hyperparameters.epochs", "epochs"),
        ("image_classifier", (), 'spec.image_classifier.class_weights["a.b"]', 'class_weights["a.b"]'),
        ("image_classifier", (), "spec.dataset", "dataset_path"),
        ("image_classifier", (), "spec.base_model", "base_model"),
        ("image_classifier", (), "dataset_path", "dataset_path"),
    ],
)
def test_a_path_has_the_name_that_its_setting_was_given_by(
    model_type: str, given: tuple[str, ...], path: str, own: str
) -> None:
    assert spec_naming(model_type, dict.fromkeys(given, 1))(path) == own
