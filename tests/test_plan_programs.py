"""Counting what a program does: operations from its jaxpr, bytes from its compiled text."""

import collections
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgan.ops import conv
from jaxgan.planning import flops, hlo, roofline, traffic
from jaxgan.planning.chips import CHIPS
from jaxgan.planning.traffic import Collective


def shape(*sizes, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(sizes, dtype)


def counted(function, *arguments, platform="tpu"):
    return flops.count(jax.make_jaxpr(function)(*arguments), platform)


# --------------------------------------------------------------------------------------------------
# Operations


def xla_count(function, *arguments):
    return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


CONVOLUTIONS = {
    "same": {"window_strides": (1, 1), "padding": "SAME"},
    "strided": {"window_strides": (2, 2), "padding": ((1, 1), (1, 2))},
    "transposed": {"window_strides": (1, 1), "padding": ((2, 2), (2, 1)), "lhs_dilation": (2, 2)},
    "dilated": {"window_strides": (1, 2), "padding": ((3, 3), (0, 0)), "rhs_dilation": (2, 3)},
    "grouped": {"window_strides": (1, 1), "padding": "VALID", "feature_group_count": 2},
}


@pytest.mark.parametrize("given", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_a_convolution_counts_as_in_xla(given):
    groups = given.get("feature_group_count", 1)

    def convolve(x, k):
        return lax.conv_general_dilated(x, k, dimension_numbers=("NHWC", "HWIO", "NHWC"), **given)

    arguments = shape(3, 9, 8, 4), shape(4, 3, 4 // groups, 6)
    found = counted(convolve, *arguments).flops
    assert found == xla_count(convolve, *arguments)
    # Of ones each output is the number of products that it is a sum of.
    ones = [jnp.ones(argument.shape) for argument in arguments]
    assert found == 2 * float(jnp.sum(convolve(*ones)))


def test_a_convolutions_three_maps_have_as_many_products():
    def loss(x, k):  # a kernel's gradient is a convolution with the batch for features
        strides, layout = (2, 2), ("NHWC", "HWIO", "NHWC")
        y = lax.conv_general_dilated(x, k, strides, "SAME", dimension_numbers=layout)
        return jnp.sum(y * lax.stop_gradient(y))

    arguments = shape(2, 8, 8, 3), shape(4, 4, 3, 5)
    found = counted(jax.grad(loss, argnums=(0, 1)), *arguments).flops
    assert found == 3 * counted(loss, *arguments).flops > 0


def test_a_product_is_two_operations_for_each_pair():
    found = counted(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), shape(3, 4, 5), shape(3, 5, 7))
    assert found == (2 * 3 * 4 * 5 * 7, 0)
    arguments = shape(4, 5), shape(5, 6)
    assert counted(jnp.dot, *arguments).flops == xla_count(jnp.dot, *arguments)


def test_loops_count_as_often_as_they_turn():
    def inner(x, _):
        return x @ x, None

    def outer(x, _):
        return lax.scan(inner, x, None, length=3)[0], None

    assert counted(lambda x: lax.scan(outer, x, None, length=5)[0], shape(4, 4)).flops == 15 * 128


def test_a_loop_of_unknown_length_counts_once_and_is_told():
    def until(x):
        return lax.while_loop(lambda x: jnp.sum(x) < 9, lambda x: x @ x, x)

    assert counted(until, shape(4, 4)) == (128, 1)
    assert counted(lambda x: lax.while_loop(lambda n: n < 9, lambda n: n + 1, x), shape()) == (0, 0)


def test_what_no_result_needs_does_not_count():
    def step(carry, x):
        used, idle, _ = carry
        return (used @ x, idle @ x, used @ used), jnp.sum(idle)

    def first_only(x):
        (used, _, _), _ = lax.scan(step, (x, x, x), x[None].repeat(5, 0))
        return used

    assert counted(first_only, shape(4, 4)).flops == 5 * 128
    # The third needs the first of the turn before, so both count.
    both = lambda x: lax.scan(step, (x, x, x), x[None].repeat(5, 0))[0][2]  # noqa: E731
    assert counted(both, shape(4, 4)).flops == 10 * 128
    nested = lambda x: jax.jit(lambda x: (x @ x, x @ x @ x))(x)[0]  # noqa: E731
    assert counted(nested, shape(4, 4)).flops == 128


def test_of_platforms_the_planned_one_counts_and_of_branches_the_largest():
    def by_platform(x):
        return lax.platform_dependent(x, cpu=lambda x: x @ x @ x, default=lambda x: x @ x)

    assert counted(by_platform, shape(4, 4)).flops == 128
    assert counted(by_platform, shape(4, 4), platform="cpu").flops == 256

    def lazily(x, n):
        return lax.cond(n % 16 == 0, lambda x: x @ x @ x, lambda x: x, x)

    assert counted(lazily, shape(4, 4), shape(dtype=jnp.int32)).flops == 256


def test_our_convolutions_count_alike_on_the_platform_without_tricks():
    def through(x, k):
        return jnp.sum(conv.conv(x, k, stride=2) ** 2)

    arguments = shape(2, 8, 8, 4), shape(4, 4, 4, 8)
    one = counted(through, *arguments).flops
    assert counted(jax.grad(through, argnums=(0, 1)), *arguments).flops == 3 * one
    remembered = jax.grad(jax.checkpoint(through), argnums=(0, 1))
    assert counted(remembered, *arguments).flops == 4 * one - one  # jax keeps its one pass


def test_within_a_replica_all_devices_count():
    mesh = jax.make_mesh((2, 4), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    product = jax.shard_map(
        lambda x: x @ jnp.ones((4, 5)), mesh=mesh, in_specs=P(("a", "b")), out_specs=P(("a", "b"))
    )
    assert counted(product, shape(16, 4)).flops == 2 * 16 * 4 * 5


# --------------------------------------------------------------------------------------------------
# Bytes


@pytest.mark.parametrize(
    ("kind", "dims", "layout", "size", "padded"),
    [
        ("f32", (64, 3), "1,0:T(8,128)", 768, 64 * 128 * 4),
        ("f32", (64, 3), "0,1:T(8,128)", 768, 8 * 128 * 4),
        ("bf16", (5, 7, 200), "2,1,0:T(8,128)(2,1)", 14000, 5 * 8 * 256 * 2),
        ("f32", (), ":T(128)", 4, 512),
        ("u8", (10, 784), "1,0:T(8,128)(4,1)", 7840, 16 * 896),
        ("pred", (3,), "0:T(512)S(1)", 3, 512),
        ("f32", (5, 5), "1,0", 100, 100),
    ],
)
def test_an_array_takes_whole_tiles(kind, dims, layout, size, padded):
    array = hlo.Array(kind, dims, layout)
    assert (array.size, array.padded) == (size, padded)
    assert array.hbm == (0 if "S(" in layout else padded)


def moved(text):
    return traffic.traffic(hlo.parse(text))


def compiled(function, *arguments, **options):
    return jax.jit(function, **options).lower(*arguments).compile().as_text()


def test_bytes_of_a_product_in_a_loop():
    def loop(w, xs):
        return lax.scan(lambda total, x: (total + jnp.sum(x @ w), None), 0.0, xs)[0]

    sizes = {"w": 64 * 32 * 4, "x": 16 * 64 * 4, "y": 16 * 32 * 4}
    found = moved(compiled(loop, shape(64, 32), shape(7, 16, 64)))
    assert found.unknown == 0
    # The slice of x is taken (read, written), multiplied by w, and the product summed.
    turn = 3 * sizes["x"] + sizes["w"] + 2 * sizes["y"]
    assert 7 * turn <= found.hbm <= 7 * (turn + 64)  # numbers


def test_a_slice_counts_as_a_slice():
    def take(table, i):
        return lax.dynamic_slice_in_dim(table, i, 1) * 2

    def put(table, row, i):
        return lax.dynamic_update_slice_in_dim(table, row * 2, i, 0)

    number = shape(dtype=jnp.int32)
    assert moved(compiled(take, shape(4096, 128), number)).hbm <= 3 * 512
    text = compiled(put, shape(4096, 128), shape(1, 128), number, donate_argnums=0)
    assert moved(text).hbm <= 4 * 512


def test_collectives_between_devices_in_a_loop():
    mesh = jax.make_mesh((2, 4), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

    def step(carry, x):
        all_of_them = lax.psum(x, ("a", "b"))
        pairs = lax.psum(x[:4], "a")
        row = lax.all_gather(x[:2], "b")
        part = lax.psum_scatter(x, "b", tiled=True)
        return carry + jnp.sum(pairs) + jnp.sum(row) + jnp.sum(part), all_of_them

    def loop(xs):
        return lax.scan(step, 0.0, xs)

    mapped = jax.shard_map(
        loop, mesh=mesh, in_specs=P(None, ("a", "b")), out_specs=P(), check_vma=False
    )
    argument = jax.ShapeDtypeStruct(
        (5, 8 * 16, 3), jnp.float32, sharding=NamedSharding(mesh, P(None, ("a", "b")))
    )
    program = hlo.parse(compiled(mapped, argument))
    assert program.devices == 8
    found = collections.Counter()
    for collective, number in traffic.traffic(program).collectives.items():
        assert number % 5 == 0
        found[collective.kind, collective.devices] += number * collective.bytes // 5
    row = 3 * 4
    assert found[("all-reduce", 8)] == 16 * row
    assert found[("all-reduce", 2)] == 4 * row
    assert found[("all-gather", 4)] == 4 * 2 * row
    assert found[("reduce-scatter", 4)] == 16 * row
    assert sum(found.values()) == (16 + 4 + 8 + 16) * row


# As XLA:TPU writes it, shortened: weights of which each device has a part are brought together
# beside a product, their gradient is summed and shared out; memory S(1) is the chip's own.
TPU = """\
HloModule jit_f, is_scheduled=true, num_partitions=8, frontend_attributes={a="b"}

%start (param_0.71: bf16[64,256]) -> (bf16[64,256], bf16[256,256], u32[]) {
  %param_0.71 = bf16[64,256]{1,0:T(8,128)(2,1)} parameter(0)
  %all-gather.17 = bf16[256,256]{1,0:T(8,128)(2,1)} all-gather(%param_0.71), channel_id=3, \
replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}, dimensions={0}
  ROOT %custom-call.2 = (bf16[64,256]{1,0:T(8,128)(2,1)}, bf16[256,256]{1,0:T(8,128)(2,1)}, \
u32[]{:S(2)}) custom-call(%all-gather.17), custom_call_target="AsyncCollectiveStart"
}

%async_collective_fusion.46 (param_0.75: bf16[64,256], param_1.68: f32[8,256], param_2: \
bf16[256,256]) -> (f32[8,256], bf16[64,256], bf16[256,256]) {
  %param_0.75 = bf16[64,256]{1,0:T(8,128)(2,1)} parameter(0)
  %param_1.68 = f32[8,256]{1,0:T(8,128)} parameter(1)
  %param_2 = bf16[256,256]{1,0:T(8,128)(2,1)} parameter(2)
  %all-gather.19 = bf16[256,256]{1,0:T(8,128)(2,1)} all-gather(%param_0.75), channel_id=3, \
replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}, dimensions={0}
  %tanh.8 = f32[8,256]{1,0:T(8,128)} tanh(%param_1.68)
  ROOT %tuple.25 = (f32[8,256]{1,0:T(8,128)}, bf16[64,256]{1,0:T(8,128)(2,1)}, /*index=2*/\
bf16[256,256]{1,0:T(8,128)(2,1)}) tuple(%tanh.8, %param_0.75, /*index=2*/%all-gather.19)
}

%end (param_0.77: bf16[64,256], param_1.70: bf16[256,256]) -> bf16[256,256] {
  %param_0.77 = bf16[64,256]{1,0:T(8,128)(2,1)} parameter(0)
  %param_1.70 = bf16[256,256]{1,0:T(8,128)(2,1)} parameter(1)
  %all-gather.21 = bf16[256,256]{1,0:T(8,128)(2,1)} all-gather(%param_0.77), channel_id=3, \
replica_groups=mesh['axis_0'=2,'axis_1'=4] {'axis_1'}, dimensions={0}
  ROOT %custom-call.4 = bf16[256,256]{1,0:T(8,128)(2,1)} custom-call(%param_0.77, %param_1.70, \
%all-gather.21), custom_call_target="AsyncCollectiveDone"
}

%all-reduce-scatter.1 (input.5: f32[256,256]) -> f32[64,256] {
  %input.5 = f32[256,256]{1,0:T(8,128)S(1)} parameter(0)
  %partition-id.3 = u32[]{:T(128)} partition-id()
  %constant.118 = s32[]{:T(128)} constant(0)
  %all-reduce.13 = f32[256,256]{1,0:T(8,128)} all-reduce(%input.5), channel_id=5, \
replica_groups={{0,1,2,3},{4,5,6,7}}, use_global_device_ids=true, to_apply=%add
  ROOT %dynamic-slice.42 = f32[64,256]{1,0:T(8,128)S(1)} dynamic-slice(%all-reduce.13, \
%partition-id.3, %constant.118), dynamic_slice_sizes={64,256}
}

%body (param: (s32[], bf16[64,256], f32[8,256])) -> (s32[], bf16[64,256], f32[8,256]) {
  %param = (s32[]{:T(128)}, bf16[64,256]{1,0:T(8,128)(2,1)}, f32[8,256]{1,0:T(8,128)}) parameter(0)
  %one = s32[]{:T(128)} constant(1)
  %i = s32[]{:T(128)S(6)} get-tuple-element(%param), index=0
  %next = s32[]{:T(128)S(6)} add(%i, %one)
  %part = bf16[64,256]{1,0:T(8,128)(2,1)} get-tuple-element(%param), index=1
  %x = f32[8,256]{1,0:T(8,128)} get-tuple-element(%param), index=2
  %begin = (bf16[64,256]{1,0:T(8,128)(2,1)}, bf16[256,256]{1,0:T(8,128)(2,1)}, u32[]{:S(2)}) \
fusion(%part), kind=kCustom, output_to_operand_aliasing={{0}: (0, {})}, calls=%start
  %p = bf16[64,256]{1,0:T(8,128)(2,1)} get-tuple-element(%begin), index=0
  %w = bf16[256,256]{1,0:T(8,128)(2,1)} get-tuple-element(%begin), index=1
  %beside = (f32[8,256]{1,0:T(8,128)}, bf16[64,256]{1,0:T(8,128)(2,1)}, \
bf16[256,256]{1,0:T(8,128)(2,1)}) fusion(%p, %x, %w), kind=kCustom, \
calls=%async_collective_fusion.46
  %y = f32[8,256]{1,0:T(8,128)} get-tuple-element(%beside), index=0
  %w2 = bf16[256,256]{1,0:T(8,128)(2,1)} get-tuple-element(%beside), index=2
  %whole = bf16[256,256]{1,0:T(8,128)(2,1)} fusion(%p, %w2), kind=kCustom, calls=%end
  %convolution.1 = f32[256,256]{1,0:T(8,128)S(1)} convolution(%y, %y), dim_labels=fb_io->bf, \
backend_config={"window_config":{"estimated_cycles":"300"}}
  %scatter = f32[64,256]{1,0:T(8,128)S(1)} fusion(%convolution.1), kind=kCustom, \
calls=%all-reduce-scatter.1
  %all-reduce-start.1 = f32[64,256]{1,0:T(8,128)S(1)} all-reduce-start(%scatter), channel_id=6, \
replica_groups=[4,2]<=[2,4]T(1,0), to_apply=%add
  %all-reduce-done.1 = f32[64,256]{1,0:T(8,128)S(1)} all-reduce-done(%all-reduce-start.1)
  %collective-permute-start = (f32[8,256]{1,0:T(8,128)}, f32[8,256]{1,0:T(8,128)S(1)}, \
u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%y), channel_id=1, \
source_target_pairs={{0,1},{1,2}}
  %neighbour = f32[8,256]{1,0:T(8,128)S(1)} collective-permute-done(%collective-permute-start)
  ROOT %tuple = (s32[]{:T(128)}, bf16[64,256]{1,0:T(8,128)(2,1)}, f32[8,256]{1,0:T(8,128)}) \
tuple(%next, %p, %y)
}

%condition (param.1: (s32[], bf16[64,256], f32[8,256])) -> pred[] {
  %constant.26 = s32[]{:T(128)} constant(7)
  %param.1 = (s32[]{:T(128)}, bf16[64,256]{1,0:T(8,128)(2,1)}, f32[8,256]{1,0:T(8,128)}) \
parameter(0)
  %get-tuple-element.39 = s32[]{:T(128)} get-tuple-element(%param.1), index=0
  ROOT %lt.3 = pred[]{:T(512)} compare(%get-tuple-element.39, %constant.26), direction=LT
}

ENTRY %main (a: bf16[64,256], b: f32[8,256]) -> f32[8,256] {
  %constant.27 = s32[]{:T(128)} constant(2)
  %a = bf16[64,256]{1,0:T(8,128)(2,1)} parameter(0)
  %b = f32[8,256]{1,0:T(8,128)} parameter(1)
  %copy.13 = s32[]{:T(128)S(6)} copy(%constant.27)
  %copy-start = (f32[8,256]{1,0:T(8,128)S(1)}, f32[8,256]{1,0:T(8,128)}, u32[]{:S(2)}) \
copy-start(%b)
  %copy-done = f32[8,256]{1,0:T(8,128)S(1)} copy-done(%copy-start)
  %tuple.24 = (s32[]{:T(128)}, bf16[64,256]{1,0:T(8,128)(2,1)}, f32[8,256]{1,0:T(8,128)}) \
tuple(%copy.13, %a, %copy-done)
  %while.4 = (s32[]{:T(128)}, bf16[64,256]{1,0:T(8,128)(2,1)}, f32[8,256]{1,0:T(8,128)}) \
while(%tuple.24), condition=%condition, body=%body
  ROOT %out = f32[8,256]{1,0:T(8,128)} get-tuple-element(%while.4), index=2
}
"""


def test_a_tpu_program_is_read():
    found, part, whole, x = moved(TPU), 64 * 256 * 2, 256 * 256 * 2, 8 * 256 * 4
    assert (found.unknown, found.cycles) == (0, 5 * 300)
    assert found.collectives == {
        Collective("all-gather", 4, whole): 5,  # from 2 to 7
        Collective("reduce-scatter", 4, 256 * 256 * 4): 5,
        Collective("all-reduce", 2, 64 * 256 * 4): 5,
        Collective("collective-permute", 2, x): 5,
    }
    turn = {
        "start": part + whole,
        "beside": 2 * x,
        "convolution, of the chip's memory": 2 * x,
        "permute": x,
        "a number, which takes a tile": 512,
    }
    assert found.hbm == x + 512 + 5 * sum(turn.values())
    inside = traffic.contents(hlo.parse(TPU))
    assert inside == (1, (), (), False)


def test_a_loop_whose_length_is_not_told_counts_once():
    unknown = TPU.replace("direction=LT", "direction=NE")
    found = moved(unknown)
    assert found.unknown == 1
    assert set(found.collectives.values()) == {1}
    told = unknown.replace(
        "body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"11"}}'
    )
    assert set(moved(told).collectives.values()) == {11}


def test_of_a_conditional_the_larger_branch_counts():
    def either(x, n):
        return lax.cond(n > 0, lambda x: x @ x, lambda x: x, x)

    found = moved(compiled(either, shape(128, 128), shape(dtype=jnp.int32))).hbm
    assert found >= 2 * 128 * 128 * 4


def test_what_does_not_belong_on_a_tpu_is_found():
    def call_back(x):
        return jax.pure_callback(lambda x: np.asarray(x), shape(4), x)

    assert traffic.contents(hlo.parse(compiled(call_back, shape(4)))).callbacks
    clean = traffic.contents(hlo.parse(compiled(lambda x: x @ x, shape(64, 64))))
    assert (clean.callbacks, clean.float64) == ((), False)
    assert clean.products + len(clean.kernels) == 1
    double = TPU.replace("f32[8,256]", "f64[8,256]")
    assert traffic.contents(hlo.parse(double)).float64
    kernel = TPU.replace("AsyncCollectiveDone", "tpu_custom_call")
    assert traffic.contents(hlo.parse(kernel)).kernels == ("tpu_custom_call",)
    host = TPU.replace("AsyncCollectiveDone", "xla_python_cpu_callback")
    assert traffic.contents(hlo.parse(host)).callbacks == ("xla_python_cpu_callback",)
    assert traffic.contents(hlo.parse(TPU.replace("tanh(", "outfeed("))).callbacks == ("outfeed",)


# --------------------------------------------------------------------------------------------------
# Time


def test_a_roofline_is_the_longest_of_three():
    chip = CHIPS["v5e"]._replace(flops=100.0, bandwidth=10.0, port=1.0)
    assert roofline.estimate(chip, 200.0, 10.0, {}) == (2.0, 1.0, 0.0)
    ring = Collective("all-reduce", 8, 4)  # 2 x 7 / 8 x 4 bytes through two ports
    found = roofline.estimate(chip, 200.0, 10.0, {ring: 3.0})
    assert math.isclose(found.interconnect, 3 * 3.5)
    assert (found.bound, found.step) == ("interconnect", found.interconnect)


@pytest.mark.parametrize(
    ("collective", "expected"),
    [
        (Collective("all-reduce", 1, 100), 0.0),
        (Collective("all-reduce", 2, 100), 2 * 1 / 2 * 100 / 1),
        (Collective("all-gather", 4, 100), 3 / 4 * 100 / 2),
        (Collective("reduce-scatter", 4, 100), 3 / 4 * 100 / 2),
        (Collective("collective-permute", 2, 100), 100.0),
    ],
)
def test_seconds_of_a_collective(collective, expected):
    chip = CHIPS["v5e"]._replace(port=1.0)
    assert math.isclose(roofline.seconds(chip, collective), expected)
