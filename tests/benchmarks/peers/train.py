"""The script that people write instead: imports, data, model, one training step. Knows nothing of Tuneyard.

python train.py DATA [--architecture resnet18 --image-size 64 --batch-size 16 --device cpu]
"""

import argparse
from pathlib import Path

import torch
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--architecture", default="resnet18")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    torch.manual_seed(0)
    dataset = datasets.ImageFolder(
        str(options.data / "train"),
        transforms.Compose(
            [
                transforms.RandomResizedCrop(options.image_size, scale=(0.5, 1.0)),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        ),
    )
    # Worker processes would make the first step later still.
    loader = DataLoader(dataset, batch_size=options.batch_size, shuffle=True, num_workers=0)
    model = models.get_model(options.architecture, weights=None, num_classes=len(dataset.classes))
    model = model.to(options.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for images, labels in loader:
        loss = functional.cross_entropy(model(images.to(options.device)), labels.to(options.device))
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        print(f"step 1 loss {loss.item():.4f}", flush=True)
        break


if __name__ == "__main__":
    main()
