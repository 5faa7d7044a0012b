import pytest
import torch

from perso_lite import PersoError
from perso_lite.methods.celeb_basis.celeb_basis import CelebBasis
from perso_lite.methods.celeb_basis.released import released_basis


def test_a_released_basis_is_read_and_has_a_radius_of_one(tiny, name_basis, tmp_path):
    path, basis = tmp_path / "celeb_basis.pt", name_basis.first(7)
    torch.save(torch.cat([basis.mean[:, None], basis.vectors], 1), path)
    found = released_basis(path, tiny)
    assert found.fingerprint == basis.fingerprint
    person = CelebBasis(tiny, "person", basis=found, training_radius=1.0)
    moved = person.vectors() - basis.mean
    assert torch.allclose(moved.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (torch.zeros(2, 5, 31), "of width 31, but this base has 32"),
        (torch.zeros(3, 5, 32), "no celeb_basis.pt"),
        ({"mean": torch.zeros(2)}, "no celeb_basis.pt"),
        (torch.full((2, 5, 32), torch.nan), "not finite"),
    ],
)
def test_what_is_no_basis_of_this_width_is_refused(tiny, tmp_path, content, said):
    path = tmp_path / "celeb_basis.pt"
    torch.save(content, path)
    with pytest.raises(PersoError, match=said):
        released_basis(path, tiny)
