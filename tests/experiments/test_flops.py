import pytest

from experiments.benchmarks.flops import (
    Work,
    adam_terms,
    adaptive_terms,
    factor_terms,
    kfra_terms,
    model_terms,
    totals,
    update_terms,
)

SIZES, BATCH = (2, 3, 1), 10


def test_adam_on_a_small_net_counted_by_hand() -> None:
    # forward 2*10*(2*3 + 3*1) = 180; weights' gradients the same; the input of layer 2: 2*10*3*1
    assert totals(adam_terms(SIZES, BATCH)) == (180 + 180 + 60, 180 + 180 + 60)


def test_kfra_on_a_small_net_counted_by_hand() -> None:
    by_name = {term.name: (term.full, term.half) for term in kfra_terms(SIZES, BATCH)}
    q = 2 * 10 * (3 * 3 + 4 * 4)
    # layer 2: W G is 3x1 times 1x1, (W G) W^T is 3x1 times 1x3, b b^T is 3x10 times 10x3
    product, congruence, slopes = 2 * 3 * 1 * 1, 2 * 3 * 1 * 3, 2 * 10 * 3 * 3
    assert by_name == {
        "forward and backward": (420, 420),
        "Q": (q, q / 2),
        "recursion": (
            product + congruence + slopes,
            product + congruence / 2 + slopes / 2,
        ),
        "Cholesky": pytest.approx([(27 + 27 + 64 + 1) / 3] * 2),
        "solves": (2 * 3 * 3 * 6 + 2 * 4 * 1 * 5,) * 2,
    }


def test_images_and_new_loss_of_a_small_net_counted_by_hand() -> None:
    # layers of 2*10*2*3 = 120 and 2*10*3*1 = 60; each group is one layer
    by_name = {term.name: term.full for term in model_terms(SIZES, BATCH, test_every=5)}
    previous, first, second = 120 + 60 + 60, 120 + 60, 60
    assert by_name == {"images": previous + first + second, "new loss": 180 / 5}
    half = {term.name: term.full for term in model_terms(SIZES, BATCH, examples=BATCH // 2)}
    assert half == {"images": (previous + first + second) / 2, "new loss": 180 / 5}


def test_what_is_due_seldom_costs_its_share() -> None:
    always = {t.name: t.full for t in adaptive_terms(SIZES, BATCH, 1, 1)}
    seldom = {t.name: t.full for t in adaptive_terms(SIZES, BATCH, 2, 5)}
    assert always["inverses"] == 27 + 27 + 64 + 1
    shares = {"Q": 2, "recursion": 2, "inverses": 5}
    assert seldom == pytest.approx({k: v / shares.get(k, 1) for k, v in always.items()})


def test_the_paper_s_autoencoder_needs_44_gigaflops() -> None:
    sizes = (784, 1000, 500, 250, 30, 250, 500, 1000, 784)
    full, half = totals(kfra_terms(sizes, 1000))
    assert full == pytest.approx(44.2e9, rel=1e-3)
    assert half < full


def test_kfac_carries_back_one_column_and_kflr_one_an_output() -> None:
    sizes = (2, 3, 2)
    q = 2 * 10 * (3 * 3 + 4 * 4)
    # a column goes back through layer 2 alone, 2*10*3*2; its squares are 3x3 and 2x2
    back, squares = 2 * 10 * 3 * 2, 2 * 10 * (3 * 3 + 2 * 2)
    kfac = {term.name: (term.full, term.half) for term in factor_terms("kfac", sizes, BATCH)}
    assert kfac == {
        "Q": (q, q / 2),
        "columns back": (back, back),
        "G": (squares, squares / 2),
    }
    kflr = {term.name: (term.full, term.half) for term in factor_terms("kflr", sizes, BATCH)}
    assert kflr == {
        "Q": (q, q / 2),
        "columns back": (2 * back, 2 * back),
        "G": (2 * squares, squares),
    }


def test_an_update_is_made_of_what_its_work_says() -> None:
    assert update_terms(SIZES, BATCH, Work("adam")) == adam_terms(SIZES, BATCH)
    assert update_terms(SIZES, BATCH, Work("kfra")) == kfra_terms(SIZES, BATCH)
    adapting = Work("kfra", 2, 5, adaptive=True, groups=2, examples=500, test_every=5)
    assert update_terms(SIZES, BATCH, adapting) == adaptive_terms(SIZES, BATCH, 2, 5)
    tested = Work("kfac", adaptive=True, groups=1, examples=BATCH, test_every=5)
    by_name = {term.name: term.full for term in update_terms(SIZES, BATCH, tested)}
    assert by_name["new loss"] == 180 / 5
    assert by_name["images"] == 2 * (120 + 60 + 60)


def test_a_network_has_no_more_groups_than_layers() -> None:
    assert model_terms((3, 2), BATCH, groups=2) == model_terms((3, 2), BATCH, groups=1)
