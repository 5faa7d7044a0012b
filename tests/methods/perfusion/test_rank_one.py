import math

import pytest
import torch

from perso_lite.methods.perfusion.rank_one import (
    EDITS,
    gate,
    gated,
    rome_matrix,
    similarities,
)

T = 1e-10  # everything here is in float64


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


# Three directions, two outputs, four text states, two concepts; worked out by hand.
WEIGHT = tensor([1, 0, 2], [0, 1, -1])
INVERSE = tensor([2, 0.2, 0], [0.2, 3, 0], [0, 0, 4])
INPUTS = tensor([1, 0, 0], [1, 1, 0])
OUTPUTS = tensor([3, 4], [5, 6])
STATES = tensor([1, 0, 0], [0, 1, 0], [1, 2, 3], [1, 1, 0])
BETA, TAU = tensor(0.6, 0.75), tensor(0.1, 0.15)


def answer(
    edit="exact",
    states=STATES,
    weight=WEIGHT,
    inputs=INPUTS,
    outputs=OUTPUTS,
    inverse=INVERSE,
    beta=BETA,
    tau=TAU,
):
    """The edited layer's answers, W e' + sum_j gate_j o*_j."""
    rest, gates = EDITS[edit](states, inputs, inverse, beta, tau)
    return rest @ weight.T + gates @ outputs


class Problem:
    """A random layer of 12 directions and 5 outputs, with the C of its states."""

    def __init__(self, concepts=2):
        random = torch.Generator().manual_seed(concepts)
        self.random = lambda *shape: torch.randn(
            shape, generator=random, dtype=torch.float64
        )
        self.states = self.random(200, 12) + 0.5 * self.random(12)
        self.covariance = self.states.T @ self.states / len(self.states)
        self.given = {
            "weight": self.random(5, 12),
            "inputs": self.random(concepts, 12) + self.random(12),  # correlated
            "outputs": self.random(concepts, 5),
            "inverse": torch.linalg.inv(self.covariance),
            "beta": torch.linspace(0.5, 0.8, concepts, dtype=torch.float64),
            "tau": torch.linspace(0.1, 0.2, concepts, dtype=torch.float64),
        }
        self.inputs, self.inverse = self.given["inputs"], self.given["inverse"]
        self.settings = [self.given[name] for name in ("beta", "tau")]

    def of(self, concepts):
        """The same layer with some of the concepts, or in another order."""
        whole = ("weight", "inverse")
        return {k: v if k in whole else v[concepts] for k, v in self.given.items()}

    def answer(self, edit="exact", states=None, **changed):
        states = self.states if states is None else states
        return answer(edit, states, **(self.given | changed))


def close(one, other, tolerance=T):
    return torch.allclose(one, other, rtol=0, atol=tolerance)


# -- golden numbers --------------------------------------------------------------------

ONE = {"inputs": INPUTS[:1], "outputs": OUTPUTS[:1]}


@pytest.mark.parametrize("edit", ["exact", "unorthogonalised", "sequential"])
def test_golden_numbers_of_one_concept(edit):
    assert close(similarities(STATES, INPUTS[:1], INVERSE).T, tensor(1, 0.1, 1.2, 1.1))
    settings = {"beta": tensor(0.75), "tau": tensor(0.1)}
    _, gates = EDITS[edit](STATES, INPUTS[:1], INVERSE, *settings.values())
    wanted = tensor(0.924141820, 0.001501182, 0.989013057, 0.970687769)
    assert close(gates[:, 0], wanted, 1e-9)
    wanted = tensor(
        [2.772425460, 3.696567280],
        [-0.095496453, 1.006004729],
        [8.767039172, 2.956052229],
        [2.812063308, 4.882751077],
    )
    assert close(answer(edit, **settings, **ONE), wanted, 1e-9)
    settings = {"beta": tensor(0.7), "tau": tensor(0.15)}
    _, gates = gated(STATES, INPUTS[:1], INVERSE, *settings.values())
    wanted = tensor(0.880797078, 0.017986210, 0.965554804, 0.935030831)
    assert close(gates[:, 0], wanted, 1e-9)
    got = answer(edit, **settings, **ONE)
    assert close(got[0], tensor(2.642391234, 3.523188312), 1e-9)
    assert close(got[2], tensor(8.696664413, 2.862219217), 1e-9)


def test_golden_numbers_of_two_concepts():
    assert close(INPUTS @ INVERSE @ INPUTS.T, tensor([2, 2.2], [2.2, 5.4]))
    shares = similarities(STATES, INPUTS, INVERSE)
    assert close(shares[:, 0], tensor(1, 0.1, 1.2, 1.1))
    wanted = tensor(0.407407407, 0.592592593, 1.592592593, 1)
    assert close(shares[:, 1], wanted, 1e-9)
    rest, gates = gated(STATES, INPUTS, INVERSE, BETA, TAU)
    assert close(rest, tensor([0, 0, 0], [0, 0, 0], [0, 0, 3], [0, 0, 0]))
    wanted = tensor(
        [0.982013790, 0.092460915],
        [0.006692851, 0.259343654],
        [0.997527377, 0.996378663],
        [0.993307149, 0.841130895],
    )
    assert close(gates, wanted, 1e-9)


GOLDEN = {
    "exact": tensor(
        [3.408345946, 4.482820651],
        [1.316796822, 1.582833327],
        [13.974475443, 6.968381483],
        [7.185575923, 9.020013967],
    ),
    "unorthogonalised": tensor(
        [3.000938539, 4.075413243],
        [0.624204230, 1.990240734],
        [12.181882851, 7.375788890],
        [6.085575923, 9.020013967],
    ),
    "sequential": tensor(
        [1.648752385, 1.674967508],
        [1.256007361, 1.963509107],
        [10.941182404, 3.385719159],
        [4.213072345, 5.056675863],
    ),
    "rome": tensor(
        [3.733333333, 4.244444444],
        [1.266666667, 1.755555556],
        [12.266666667, 4.755555556],
        [5, 6],
    ),
}


@pytest.mark.parametrize("edit", GOLDEN)
def test_golden_numbers_of_every_joint_edit(edit):
    assert GOLDEN.keys() == EDITS.keys()
    assert close(answer(edit), GOLDEN[edit], 1e-9)


def test_golden_gates():
    table = {
        (0.75, 0.10): (0.9241418200, 0.0005527786),
        (0.75, 0.15): (0.8411308951, 0.0066928509),
        (0.65, 0.15): (0.9116, 0.0130),
        (0.55, 0.15): (0.9526, 0.0249),
        (0.45, 0.15): (0.9751, 0.0474),
    }
    for (beta, tau), wanted in table.items():
        digits = 1e-10 if beta == 0.75 else 5e-5
        got = gate(tensor(1, 0), beta, tau).tolist()
        assert got == pytest.approx(wanted, abs=digits)
    assert gate(tensor(0.3), 0.3, 0.01).item() == 0.5


# -- ROME ------------------------------------------------------------------------------


def test_shares_instead_of_gates_are_romes_matrix():
    problem = Problem(1)
    (i,), (o,) = problem.inputs, problem.given["outputs"]
    edited = rome_matrix(problem.given["weight"], i, o, problem.inverse)
    assert close(problem.answer("rome"), problem.states @ edited.T)
    assert close(edited @ i, o)


def test_several_edits_of_rome_are_its_matrix_edited_again():
    problem = Problem(3)
    edited = problem.given["weight"]
    for i, o in zip(problem.inputs, problem.given["outputs"], strict=True):
        edited = rome_matrix(edited, i, o, problem.inverse)
    assert close(problem.answer("rome"), problem.states @ edited.T)


def test_no_other_matrix_that_answers_changes_the_layer_less():
    problem = Problem(1)
    (i,), (o,) = problem.inputs, problem.given["outputs"]
    weight, count = problem.given["weight"], len(problem.states)
    edited = rome_matrix(weight, i, o, problem.inverse)

    def cost(matrix):
        return (problem.states @ (matrix - weight).T).square().sum()

    energy = i @ problem.inverse @ i
    assert close(cost(edited), count * (o - weight @ i).square().sum() / energy, 1e-8)
    for _ in range(5):
        other = problem.random(5, 12)
        other -= torch.outer(other @ i, i) / (i @ i)  # still answers i* with o*
        assert close((edited + other) @ i, o)
        assert cost(edited + 0.01 * other) > cost(edited)


# -- one concept -----------------------------------------------------------------------


def test_one_concept_is_equation_3():
    problem = Problem(1)
    (i,), (o,) = problem.inputs, problem.given["outputs"]
    beta, tau = problem.settings
    for e, got in zip(problem.states, problem.answer(), strict=True):
        s = (i @ problem.inverse @ e) / (i @ problem.inverse @ i)
        wanted = problem.given["weight"] @ (e - s * i)
        assert close(got, wanted + torch.sigmoid((s - beta) / tau) * o)
    for edit in ("unorthogonalised", "sequential"):
        assert close(problem.answer(edit), problem.answer())


@pytest.mark.parametrize(
    ("tau", "wanted"), [(0.1, 0.9241418200), (0.15, 0.8411308951), (0.005, 1)]
)
def test_the_input_itself_is_answered_with_the_gate_times_the_output(tau, wanted):
    problem = Problem(1)
    got = problem.answer(states=problem.inputs, beta=tensor(0.75), tau=tensor(tau))
    output = problem.given["outputs"]
    assert close(got, torch.sigmoid(tensor(0.25) / tau) * output)
    assert close(got, wanted * output, 1e-9)  # not o* itself, but for tau -> 0


@pytest.mark.parametrize(
    ("tau", "leak"), [(0.1, 0.0005527786), (0.15, 0.0066928509), (0.02, 0)]
)
def test_what_is_orthogonal_in_the_metric_stays_but_for_the_leak(tau, leak):
    problem = Problem(1)
    (i,), weight = problem.inputs, problem.given["weight"]
    settings = {"beta": tensor(0.75), "tau": tensor(tau)}
    e = problem.random(1, 12)
    e = e - (e @ problem.inverse @ i) / (i @ problem.inverse @ i) * i
    got = problem.answer(states=e, **settings)
    assert close(got, e @ weight.T + leak * problem.given["outputs"], 1e-9)
    # orthogonal as the crow flies is not enough
    e = problem.random(1, 12)
    e = e - (e @ i) / (i @ i) * i
    got = problem.answer(states=e, **settings)
    assert (got - e @ weight.T).abs().max() > 0.02


def test_an_output_of_the_layer_itself_is_all_but_no_edit():
    problem = Problem(1)
    weight = problem.given["weight"]
    kept = problem.inputs @ weight.T  # (1, 5)
    shares = similarities(problem.states, problem.inputs, problem.inverse)
    change = problem.answer(outputs=kept) - problem.states @ weight.T
    assert close(change, (gate(shares, *problem.settings) - shares) * kept)
    settings = {"beta": tensor(0.75), "tau": tensor(0.1)}
    change = problem.answer(states=problem.inputs, outputs=kept, **settings) - kept
    assert close(change / kept, tensor(-0.07585818), 1e-8)


# -- several concepts ------------------------------------------------------------------


@pytest.mark.parametrize("edit", EDITS)
def test_the_scale_of_the_covariance_does_not_matter(edit):
    problem = Problem()
    wanted = problem.answer(edit)
    for factor in (1e-3, 7.0):
        scaled = torch.linalg.inv(factor * problem.covariance)
        assert close(problem.answer(edit, inverse=scaled), wanted)


def test_the_rest_has_nothing_of_any_concept():
    problem = Problem(3)
    rest, _ = gated(problem.states, problem.inputs, problem.inverse, *problem.settings)
    assert close(rest @ problem.inverse @ problem.inputs.T, tensor(0))
    again, _ = gated(rest, problem.inputs, problem.inverse, *problem.settings)
    assert close(again, rest)
    assert (rest - problem.states).abs().max() > 0.1
    # any mixture of concepts leaves nothing for the weight
    mixture = problem.random(4, 3) @ problem.inputs
    nothing, _ = gated(mixture, problem.inputs, problem.inverse, *problem.settings)
    assert close(nothing, tensor(0))


@pytest.mark.parametrize("edit", EDITS)
def test_every_position_is_edited_by_itself(edit):
    problem = Problem()
    wanted = problem.answer(edit)  # (200, 5)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    assert close(problem.answer(edit, problem.states[order]), wanted[order])
    batched = problem.answer(edit, problem.states.view(4, 5, 10, 12))
    assert batched.shape == (4, 5, 10, 5)
    assert close(batched.view(200, 5), wanted)


@pytest.mark.parametrize(
    ("edit", "matters"),
    [("exact", 0), ("unorthogonalised", 0), ("sequential", 1), ("rome", 1)],
)
def test_whether_the_order_of_concepts_matters(edit, matters):
    problem = Problem(3)
    turned = answer(edit, problem.states, **problem.of([2, 1, 0]))
    change = (turned - problem.answer(edit)).abs().max()
    assert change > 0.1 if matters else change < T


def test_sequential_is_one_edited_layer_edited_again():
    problem = Problem(3)
    inverse, (betas, taus) = problem.inverse, problem.settings

    def layer(states, edits):
        if not edits:
            return states @ problem.given["weight"].T
        j = edits - 1
        i, o = problem.inputs[j], problem.given["outputs"][j]
        share = (states @ inverse @ i / (i @ inverse @ i))[:, None]
        gates = torch.sigmoid((share - betas[j]) / taus[j])
        return layer(states - share * i, edits - 1) + gates * o

    assert close(problem.answer("sequential"), layer(problem.states, 3))


def test_gram_is_cholesky_and_qr():
    problem = Problem(3)
    triangle = torch.linalg.cholesky(problem.inverse)  # C^-1 = L L^T
    directions, _ = torch.linalg.qr(triangle.T @ problem.inputs.T)  # (12, 3)
    basis = torch.linalg.solve_triangular(triangle.T, directions, upper=True)
    unit = basis.T @ problem.inverse @ basis
    assert close(unit, torch.eye(3, dtype=torch.float64))
    wanted = problem.states - problem.states @ problem.inverse @ basis @ basis.T
    rest, _ = gated(problem.states, problem.inputs, problem.inverse, *problem.settings)
    assert close(rest, wanted)


def test_a_concept_opens_the_gates_of_its_relatives():
    got = answer(states=INPUTS[:1])  # i_1, with G_12 / G_22 = 2.2 / 5.4
    first = 1 / (1 + math.exp(-(1 - 0.6) / 0.1))
    second = 1 / (1 + math.exp(-(2.2 / 5.4 - 0.75) / 0.15))
    assert close(got, first * OUTPUTS[:1] + second * OUTPUTS[1:])


@pytest.mark.parametrize("edit", ["unorthogonalised", "sequential"])
def test_the_cheap_edits_are_exact_for_concepts_with_nothing_in_common(edit):
    problem = Problem()
    one, two = problem.inputs
    assert not close(problem.answer(edit), problem.answer(), 0.05)
    inverse = problem.inverse
    apart = two - (two @ inverse @ one) / (one @ inverse @ one) * one
    inputs = torch.stack([one, apart])
    assert close(problem.answer(edit, inputs=inputs), problem.answer(inputs=inputs))
    # and neither disturbs the other: its gate is as shut as for any other word
    _, gates = gated(inputs, inputs, inverse, *problem.settings)
    beta, tau = problem.settings
    assert close(gates[0, 1], torch.sigmoid(-beta[1] / tau[1]))


def test_a_concept_that_answers_nothing_still_takes_its_part_away():
    problem = Problem()
    silent = problem.given["outputs"].clone()
    silent[1] = 0
    alone = answer("exact", problem.states, **problem.of([0]))
    got = problem.answer(outputs=silent) - alone
    assert got.abs().max() > 0.1


# -- gradients -------------------------------------------------------------------------


def test_an_output_learns_from_every_position_as_far_as_its_gate_is_open():
    problem = Problem()
    outputs = problem.given["outputs"].requires_grad_()
    answered = problem.answer()  # (200, 5)
    answered.retain_grad()
    answered.sin().sum().backward()
    _, gates = gated(problem.states, problem.inputs, problem.inverse, *problem.settings)
    assert close(outputs.grad, gates.T @ answered.grad)


def test_gradients_flow_to_the_states_through_the_rest_and_through_the_gate():
    problem = Problem()

    def of_states(states):
        return problem.answer(states=states)

    states = problem.states[:2].clone().requires_grad_()
    assert torch.autograd.gradcheck(of_states, states)
    problem.given["weight"] = torch.zeros(5, 12, dtype=torch.float64)
    assert torch.autograd.gradcheck(of_states, states)  # the gate alone
    of_states(states).sum().backward()
    assert states.grad.abs().min() > 0
