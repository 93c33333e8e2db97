"""How often a compiled loss reads or writes arrays as large as the logits."""

import pytest
from backends import BACKEND

if BACKEND != "jax":
    pytest.skip("reads the programs of JAX", allow_module_level=True)

import passes

MOST = {
    ("class ids", "keras_focal"): 6,
    ("class ids", "keras_focal, FLSD-53"): 6,
    ("rows of targets", "keras_focal"): 29,
    ("rows of targets", "keras_focal, FLSD-53"): 33,
}


@pytest.mark.parametrize(("labels", "name"), MOST, ids=" of ".join)
def test_value_and_gradient_take_no_more_passes(labels, name):
    shape = (128, 500)
    text = passes.program(passes.losses()[labels][name], labels, shape)
    assert 3 <= passes.passes(text, shape[0] * shape[1]) <= MOST[labels, name]


def test_reads_and_writes_are_counted_but_not_what_a_fusion_does_inside():
    text = """HloModule known

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %c = f32[] add(%a, %b)
}

%inside (z: f32[4,5]) -> f32[4,5] {
  %z = f32[4,5]{1,0} parameter(0)
  %e = f32[4,5]{1,0} exponential(%z)
  ROOT %f = f32[4,5]{1,0} negate(%e)
}

%picks (z: f32[4,5], y: s32[4]) -> f32[4] {
  %z.1 = f32[4,5]{1,0} parameter(0)
  %y.1 = s32[4]{0} parameter(1)
  ROOT %g = f32[4]{0} gather(%z.1, %y.1), offset_dims={}
}

ENTRY %main (z: f32[4,5], y: s32[4]) -> (f32[4], f32[4,5]) {
  %z.2 = f32[4,5]{1,0} parameter(0)
  %y.2 = s32[4]{0} parameter(1)
  %0 = f32[] constant(0)
  %true = f32[4]{0} fusion(%z.2, %y.2), kind=kLoop, calls=%picks
  %sum = f32[4]{0} reduce(%z.2, %0), dimensions={1}, to_apply=%add
  %gradient = f32[4,5]{1,0} fusion(%z.2), kind=kLoop, calls=%inside
  ROOT %both = (f32[4]{0}, f32[4,5]{1,0}) tuple(%sum, %gradient)
}
"""
    assert passes.passes(text, 20) == 3
