"""Python runs this at its start, in every process of a farm that is to have a mistake."""

from tests.faults.proof_farm import plant_named

plant_named()
