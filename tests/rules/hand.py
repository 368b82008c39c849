"""Every rule worked out by hand: two inputs, blocks of two neurons and of one, two classes.

Plain NumPy loops over time, written from the papers' equations and from nothing of the library.
Shapes: ``x[l]`` ``(2 recordings, inputs of block l)``, ``u[l]``, ``s[l]`` ``(2 recordings, n)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

BETA, THETA, KAPPA = 0.8, 1.0, 0.6
LABELS = np.array([1, 0])
ONEHOT = np.eye(2)[LABELS]
#: Five steps, two recordings, two inputs.
X = np.array(
    [
        [[1, 0], [1, 1]],
        [[1, 1], [0, 1]],
        [[0, 1], [1, 0]],
        [[1, 1], [1, 1]],
        [[1, 0], [0, 1]],
    ],
    dtype=float,
)
W1, B1 = np.array([[0.9, 0.5], [0.6, -0.4]]), np.array([0.1, 0.2])
W2, B2 = np.array([[0.8, 0.7]]), np.array([0.05])


def triangle(x: Any) -> Any:
    """0.3 max(0, 1 - |x|)."""
    return 0.3 * np.maximum(0.0, 1.0 - np.abs(x))


def softmax(y: Any) -> Any:
    """Of each row."""
    e = np.exp(y - y.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@dataclass
class Hand:
    """The network's numbers at one step, and what a rule wants to keep."""

    W: list[Any]
    b: list[Any]
    tensors: dict[str, Any]
    psi_of: Any = triangle
    rows: int = 2
    kept: dict[str, Any] = field(default_factory=dict)
    t: int = 0

    def __post_init__(self) -> None:
        self.u = [np.zeros((self.rows, len(w))) for w in self.W]
        self.s = [np.zeros((self.rows, len(w))) for w in self.W]
        self.x = [np.zeros((self.rows, w.shape[1])) for w in self.W]
        self.z = np.zeros((2, len(self.W[-1])))

    def forward(self, x: Any, signal: Any = None) -> None:
        """u_t = beta u_{t-1} + W x_t + b - theta [u_{t-1} > theta],  s_t = [u_t > theta]."""
        self.t += 1
        for k, (w, b) in enumerate(zip(self.W, self.b, strict=True)):
            current = x @ w.T + b
            if k == 0 and signal is not None:
                current = np.vstack([current[:2], signal])
            self.x[k] = x
            self.u[k] = BETA * self.u[k] + current - THETA * (self.u[k] > THETA)
            self.s[k] = (self.u[k] > THETA) * 1.0
            x = self.s[k]
        # z_t = kappa z_{t-1} + s_t,  y_t = R z_t + c
        self.z = KAPPA * self.z + self.s[-1][:2]
        y = self.z @ self.tensors["readout.weight"].T + self.tensors["readout.bias"]
        self.error = (softmax(y) - ONEHOT) / 2

    def psi(self, k: int) -> Any:
        """Pseudo-derivative of block k."""
        return self.psi_of(self.u[k] - THETA)

    def keep(self, name: str, value: Any, decay: float) -> Any:
        """r_t = decay r_{t-1} + value_t."""
        self.kept[name] = decay * self.kept.get(name, 0.0) + value
        return self.kept[name]

    def trace(self, k: int, decay: float) -> tuple[Any, Any]:
        """Traces of block k's input, and of the constant 1 that a bias is a synapse from."""
        return self.keep(f"x{k}", self.x[k], decay), self.keep(f"1{k}", 1.0, decay)

    @property
    def readout(self) -> dict[str, Any]:
        """The delta rule: error (x) z, summed over the recordings."""
        return {"readout.weight": self.error.T @ self.z, "readout.bias": self.error.sum(axis=0)}


Gradients = tuple[list[Any], list[Any], dict[str, Any]]


def outer(h: Hand, delta: list[Any], decay: float) -> Gradients:
    """sum over recordings of delta (x) trace, for each block."""
    traces = [h.trace(k, decay) for k in range(2)]
    return (
        [delta[k].T @ traces[k][0] for k in range(2)],
        [delta[k].sum(axis=0) * traces[k][1] for k in range(2)],
        h.readout,
    )


def down(h: Hand, top: Any, between: Any) -> list[Any]:
    """From the top block's spikes to the lower one's: L_1 = (L_2 psi_2) W_2."""
    return [(top * h.psi(1)) @ between, top]


def ottt(h: Hand, decay: float = BETA) -> Gradients:
    """dL_t/ds_2 = error R, and below it by W_2; times psi; on the trace."""
    L = down(h, h.error @ h.tensors["readout.weight"], h.W[1])
    return outer(h, [L[k] * h.psi(k) for k in range(2)], decay)


def sltt(h: Hand) -> Gradients:
    """OTTT without a memory."""
    return ottt(h, 0.0)


def own_state(h: Hand, L: list[Any], smoothing: float, reset: bool) -> Gradients:
    """One eligibility a synapse and recording: eps = d eps + x, e = psi eps, low-passed."""
    gW, gb = [], []
    for k in range(2):
        psi = h.psi(k)
        # With the reset: du_t/du_{t-1} = beta - theta psi_{t-1}.
        d = BETA - THETA * h.kept.get(f"psi{k}", 0.0) * reset
        d = np.broadcast_to(d, psi.shape)
        h.kept[f"psi{k}"] = psi
        eps = d[:, :, None] * h.kept.get(f"eps{k}", 0.0) + h.x[k][:, None, :]
        one = d * h.kept.get(f"one{k}", 0.0) + 1.0
        h.kept[f"eps{k}"], h.kept[f"one{k}"] = eps, one
        e = h.keep(f"e{k}", psi[:, :, None] * eps, smoothing)
        e1 = h.keep(f"e1{k}", psi * one, smoothing)
        gW.append(np.einsum("bj,bji->ji", L[k], e))
        gb.append((L[k] * e1).sum(axis=0))
    return gW, gb, h.readout


def eprop(h: Hand) -> Gradients:
    """L = B error, with B = R for the upper block and W_2 below it; e low-passed by kappa."""
    return own_state(h, down(h, h.error @ h.tensors["readout.weight"], h.W[1]), KAPPA, False)


def eprop_random(h: Hand) -> Gradients:
    """The same by a random B of each block's own."""
    return own_state(h, broadcast(h), KAPPA, False)


def ostl(h: Hand) -> Gradients:
    """Spatial backpropagation, and the state's own recursion with its reset."""
    top = h.error @ h.tensors["readout.weight"]
    return own_state(h, down(h, top, h.W[1]), 0.0, True)


def broadcast(h: Hand) -> list[Any]:
    """error B_l."""
    return [h.error @ h.tensors[f"feedback.{k}"] for k in range(2)]


def project(h: Hand) -> list[Any]:
    """-y* B_l / batch."""
    return [-ONEHOT @ h.tensors[f"feedback.{k}"] / 2 for k in range(2)]


def osttp(h: Hand) -> Gradients:
    """OSTL's eligibility under the projected target."""
    return own_state(h, project(h), 0.0, True)


def drtp(h: Hand) -> Gradients:
    """The projected target times psi, on the trace; ETLP with an event at every step, too."""
    L = project(h)
    return outer(h, [L[k] * h.psi(k) for k in range(2)], BETA)


def dfa(h: Hand) -> Gradients:
    """The broadcast error times psi, on the trace."""
    L = broadcast(h)
    return outer(h, [L[k] * h.psi(k) for k in range(2)], BETA)


def feedback_alignment(h: Hand) -> Gradients:
    """As OTTT, with random matrices in place of R and W_2."""
    L = down(h, h.error @ h.tensors["feedback.readout"], h.tensors["feedback.2"])
    return outer(h, [L[k] * h.psi(k) for k in range(2)], BETA)


def stdp_like(h: Hand, L: list[Any]) -> Gradients:
    """a_pre L psi (x) tr_pre(x)  +  a_post L tr_post(psi, up to the last step) (x) x."""
    gW, gb = [], []
    for k in range(2):
        psi, before = h.psi(k), h.kept.get(f"post{k}", 0.0)
        h.keep(f"post{k}", psi, 0.5)
        pre, one = h.trace(k, 0.8)
        causal, other = 1.0 * L[k] * psi, -0.2 * L[k] * before
        gW.append(causal.T @ pre + other.T @ h.x[k])
        gb.append(causal.sum(axis=0) * one + other.sum(axis=0))
    return gW, gb, h.readout


def stllr(h: Hand) -> Gradients:
    """The learning signal by spatial backpropagation."""
    L = down(h, h.error @ h.tensors["readout.weight"], h.W[1])
    return stdp_like(h, L)


def tess(h: Hand) -> Gradients:
    """The learning signal of each layer's own waves, sign(sin(f_c i)) / sqrt(n)."""
    L = []
    for k, n in enumerate((2, 1)):
        f = np.array([50.0, 512.0])[:, None]
        M = np.sign(np.sin(f * np.arange(1, n + 1))) / np.sqrt(n)
        L.append((softmax(h.s[k] @ M.T) - ONEHOT) / 2 @ M)
    return stdp_like(h, L)


def decolle(h: Hand) -> Gradients:
    """Y = G S; G^T (softmax(Y) - y*) times psi, on the trace."""
    delta = []
    for k in range(2):
        G = h.tensors[f"feedback.{k}"]
        delta.append((softmax(h.s[k] @ G.T) - ONEHOT) / 2 @ G * h.psi(k))
    return outer(h, delta, BETA)


def stsf(h: Hand) -> Gradients:
    """The broadcast error where the neuron fires, on the presynaptic spikes."""
    L = broadcast(h)
    return outer(h, [L[k] * h.s[k] for k in range(2)], 0.0)


def stdp(h: Hand, reward: Any = 1.0) -> Gradients:
    """-(A+ s (x) tr(x) - A- tr(s, up to the last step) (x) x) / batch; no biases.

    Soft bounds: slowed by 1 - w / w_max on the way up and 1 + w / w_max on the way down.
    """
    gW = []
    for k in range(2):
        before = h.kept.get(f"post{k}", np.zeros_like(h.s[k]))
        h.keep(f"post{k}", h.s[k], 0.8)
        pre, _ = h.trace(k, 0.8)
        gW.append(-((reward * h.s[k]).T @ pre - 0.5 * (reward * before).T @ h.x[k]) / 2)
    return gW, [None, None], h.readout


def soft_bounds(h: Hand, gW: list[Any]) -> list[Any]:
    """Of what was summed; w_max = 2 / sqrt(2 inputs)."""
    bound = 2.0 / np.sqrt(2)
    return [g * np.maximum(0.0, 1.0 + np.sign(g) * w / bound) for g, w in zip(gW, h.W, strict=True)]


def reward_stdp(h: Hand) -> Gradients:
    """Reward 1 for a right answer of the readout, minus its mean."""
    right = ((h.error * 2 + ONEHOT).argmax(axis=1) == LABELS) * 1.0
    return stdp(h, (right - right.mean())[:, None])


def traces_propagation(h: Hand) -> Gradients:
    """Two target rows behind the two recordings; traces of spikes with beta = 0.9."""
    gW, gb = [], []
    below = h.keep("target", np.eye(2), 0.9)
    for k in range(2):
        eps = h.keep(f"eps{k}", h.s[k], 0.9)
        own, target = eps[:2], eps[2:]
        z = np.array([[own[b] @ target[LABELS[c]] for c in range(2)] for b in range(2)])
        distance = [
            [np.linalg.norm(below[LABELS[b]] - below[LABELS[c]]) for c in range(2)]
            for b in range(2)
        ]
        y = softmax(-np.array(distance))
        g = (softmax(z) - y) / 2
        at_own = np.array([sum(g[b, c] * target[LABELS[c]] for c in range(2)) for b in range(2)])
        at_target = np.zeros_like(target)
        for c in range(2):
            at_target[LABELS[c]] += sum(g[b, c] * own[b] for b in range(2))
        delta = np.vstack([at_own, at_target]) * h.psi(k)
        rows = slice(2) if k == 0 else slice(4)  # a target's current in the first block is S c
        gW.append(delta[rows].T @ h.x[k][rows])
        gb.append(delta[rows].sum(axis=0))
        if k == 0:
            signal = delta[2:]
        below = target
    # o_t = o_{t-1} + R s_t + c; the delta rule on the trace.
    current = h.s[1][:2] @ h.tensors["readout.weight"].T + h.tensors["readout.bias"]
    error = (softmax(h.keep("o", current, 1.0)) - ONEHOT) / 2
    readout = {"readout.weight": error.T @ h.kept["eps1"][:2], "readout.bias": error.sum(axis=0)}
    return gW, gb, readout | {"signal": signal}
