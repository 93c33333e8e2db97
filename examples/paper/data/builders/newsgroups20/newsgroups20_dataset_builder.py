"""20 Newsgroups, the original collection."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

URL = "http://qwone.com/~jason/20Newsgroups/20news-19997.tar.gz"
GROUPS = (
    "alt.atheism",
    "comp.graphics",
    "comp.os.ms-windows.misc",
    "comp.sys.ibm.pc.hardware",
    "comp.sys.mac.hardware",
    "comp.windows.x",
    "misc.forsale",
    "rec.autos",
    "rec.motorcycles",
    "rec.sport.baseball",
    "rec.sport.hockey",
    "sci.crypt",
    "sci.electronics",
    "sci.med",
    "sci.space",
    "soc.religion.christian",
    "talk.politics.guns",
    "talk.politics.mideast",
    "talk.politics.misc",
    "talk.religion.misc",
)


class Builder(tfds.core.GeneratorBasedBuilder):
    """19,997 articles of 20 newsgroups, without their headers."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(doc="Group and file: they sort as in the archive."),
                    "text": tfds.features.Text(doc="What follows the first blank line."),
                    "label": tfds.features.ClassLabel(names=GROUPS),
                }
            ),
            supervised_keys=("text", "label"),
            homepage="http://qwone.com/~jason/20Newsgroups/",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        folder = Path(dl_manager.download_and_extract(URL))
        return {"train": self._generate_examples(folder / "20_newsgroups")}

    def _generate_examples(self, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        for group in GROUPS:
            for file in sorted((folder / group).iterdir()):
                header, blank, text = file.read_text(encoding="latin-1").partition("\n\n")
                key = f"{group}/{file.name}"
                yield key, {"id": key, "text": text if blank else header, "label": group}
