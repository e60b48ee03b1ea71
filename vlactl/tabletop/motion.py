"""Kernels, compiled by numba: the target pose moves with the actions and the arm's joints follow it.

Forward kinematics by products of exponentials, so that any chain of hinges fits; inverse kinematics by damped least
squares with a pull towards a posture in the null space.  It starts from the joints that were last commanded, never from
the measured ones, so the arm does not drift under load and the joints depend on commands only.  Strict floating point,
one world after the other: a result depends neither on how many worlds are in the call nor on which.

Layouts (float64, metres and radians, world axes; a rotation is row-major from tool to world):
chain_JP  a row for each joint from the base on: axis (3) and a point on it (3) when all joints are 0, low, high, home
tool_T3   the tool when all joints are 0: position, then the rows of its rotation
limits_L  see the LIMIT constants
control_C what control remembers of a world, see the CONTROL constants
Axes: N worlds, R substeps, J joints, A action dimensions.  Vectors are tuples, rotations are tuples of three rows.
"""
# pyright: reportIndexIssue=false

from __future__ import annotations

import math

import numba
import numpy as np

from vlactl.tabletop.kernel_cache import cached

DAMPING = 1e-3
"""Square of the damping factor: with a tenth of it, an arm that is stretched out swings about."""
ROTATION_WEIGHT_M = 0.3
"""Metres that count as much as a radian: where both cannot be had, the position is kept."""
STEP_LIMIT_RAD = 0.15
"""Largest joint change of one iteration."""
POSTURE_GAIN = 0.02
"""Pull towards the home posture in the null space, for each iteration: the elbow does not wander over long chains."""
ERROR_LIMIT_RAD = 0.15
"""A rotation that is further away pulls no more than this: at its joint limits the arm gives up the rotation, not the
position."""
AHEAD_RAD = 0.3
"""The target rotation is not turned further than this from that of the commanded joints: what the wrist cannot follow
is not asked for.  Without these two, arms under wild actions spend a third of the time outside their workspace; the
scripted expert stays below 0.07 in both."""
ITERATIONS = 2
"""Of inverse kinematics for each substep."""
LEGAL = 1.0 + 1e-6
"""Largest magnitude of an action's element; float32 arithmetic may end just above 1."""

CHAIN_FLOATS = 9
CONTROL_ROTATION, CONTROL_JOINTS, CONTROL_GRIPPER, CONTROL_FLOATS = 3, 12, 19, 20
"""Target position from 0 on, target rotation, commanded joints, last gripper command."""
(LIMIT_MOVE_M, LIMIT_TURN_RAD, LIMIT_TILT_COS, LIMIT_LEASH_M, LIMIT_LEASH_RAD, LIMIT_LOW_M, LIMIT_HIGH_M,
 LIMIT_FLOATS) = 0, 1, 2, 3, 4, 5, 8, 11
"""What 1.0 moves and turns in a substep, cosine of the largest tilt, leash lengths, corners of the workspace."""

kernel = numba.njit(nogil=True, error_model="numpy")
FILES = ("motion.py",)


@kernel
def dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel
def cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@kernel
def triple(values, first):
    """Three values of an array from ``first`` on."""
    return values[first], values[first + 1], values[first + 2]


@kernel
def rows(values, first):
    """Nine values of an array from ``first`` on, as a rotation."""
    return triple(values, first), triple(values, first + 3), triple(values, first + 6)


@kernel
def applied(rotation, vector):
    return dot(rotation[0], vector), dot(rotation[1], vector), dot(rotation[2], vector)


@kernel
def columns(matrix):
    """The transpose."""
    a, b, c = matrix
    return (a[0], b[0], c[0]), (a[1], b[1], c[1]), (a[2], b[2], c[2])


@kernel
def product(left, right):
    """left @ right."""
    turned = columns(right)
    return applied(turned, left[0]), applied(turned, left[1]), applied(turned, left[2])


@kernel
def about(axis, angle):
    """The rotation by ``angle`` about a unit axis (Rodrigues)."""
    x, y, z = axis
    s, c = math.sin(angle), 1.0 - math.cos(angle)
    return ((1.0 - c * (y * y + z * z), c * x * y - s * z, c * x * z + s * y),
            (c * x * y + s * z, 1.0 - c * (x * x + z * z), c * y * z - s * x),
            (c * x * z - s * y, c * y * z + s * x, 1.0 - c * (x * x + y * y)))


@kernel
def turned_by(rotation, vector):
    """``rotation`` after a turn by a rotation vector in world axes."""
    angle = math.sqrt(dot(vector, vector))
    if angle < 1e-9:
        return rotation
    return product(about((vector[0] / angle, vector[1] / angle, vector[2] / angle), angle), rotation)


@kernel
def store(values, first, vector):
    values[first], values[first + 1], values[first + 2] = vector


@kernel
def store_rows(values, first, rotation):
    store(values, first, rotation[0])
    store(values, first + 3, rotation[1])
    store(values, first + 6, rotation[2])


@kernel
def forward(chain_JP, tool_T3, joints_J, axes_J3, points_J3):
    """Position and rotation of the tool; fills each joint's axis and a point on it, in the world."""
    rotation, offset = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), (0.0, 0.0, 0.0)
    for j in range(chain_JP.shape[0]):
        axis, point = triple(chain_JP[j], 0), triple(chain_JP[j], 3)
        x, y, z = applied(rotation, point)
        x, y, z = x + offset[0], y + offset[1], z + offset[2]
        store(axes_J3[j], 0, applied(rotation, axis))
        store(points_J3[j], 0, (x, y, z))
        rotation = product(rotation, about(axis, joints_J[j]))
        back = applied(rotation, point)
        offset = (x - back[0], y - back[1], z - back[2])
    place = applied(rotation, triple(tool_T3[0], 0))
    tool = triple(tool_T3[1], 0), triple(tool_T3[2], 0), triple(tool_T3[3], 0)
    return (place[0] + offset[0], place[1] + offset[1], place[2] + offset[2]), product(rotation, tool)


@kernel
def solve_spd(matrix, right):
    """Solve ``matrix @ x = right`` for a symmetric positive definite matrix (Cholesky); ``right`` becomes x."""
    n = matrix.shape[0]
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = math.sqrt(total) if i == j else total / matrix[j, j]
    for i in range(n):
        for k in range(i):
            right[i] -= matrix[i, k] * right[k]
        right[i] /= matrix[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            right[i] -= matrix[k, i] * right[k]
        right[i] /= matrix[i, i]


@kernel
def cosine(left, right):
    """Cosine of the angle between two rotations."""
    return 0.5 * (dot(left[0], right[0]) + dot(left[1], right[1]) + dot(left[2], right[2]) - 1.0)


@kernel
def pose_error(position, rotation, found, found_rotation, error):
    """Fill the six: translation and weighted small-angle rotation vector that lead from what is found to the target."""
    store(error, 0, (position[0] - found[0], position[1] - found[1], position[2] - found[2]))
    turn = product(rotation, columns(found_rotation))
    x, y, z = turn[2][1] - turn[1][2], turn[0][2] - turn[2][0], turn[1][0] - turn[0][1]
    weight, sine = 0.5 * ROTATION_WEIGHT_M, 0.5 * math.sqrt(x * x + y * y + z * z)
    if sine > ERROR_LIMIT_RAD or cosine(rotation, found_rotation) < 0:
        weight *= ERROR_LIMIT_RAD / max(sine, 1e-9)
    store(error, 3, (weight * x, weight * y, weight * z))


@kernel
def follow(chain_JP, tool_T3, position, rotation, iterations, joints_J):
    """Move ``joints_J`` nearer to the pose by Newton steps, within the joint limits."""
    count = chain_JP.shape[0]
    axes_J3, points_J3, jacobian_J6 = np.empty((count, 3)), np.empty((count, 3)), np.empty((count, 6))
    error, normal, change_J = np.empty(6), np.empty((6, 6)), np.empty(count)
    for _ in range(iterations):
        found, found_rotation = forward(chain_JP, tool_T3, joints_J, axes_J3, points_J3)
        pose_error(position, rotation, found, found_rotation, error)
        for j in range(count):
            axis, point = triple(axes_J3[j], 0), triple(points_J3[j], 0)
            store(jacobian_J6[j], 0, cross(axis, (found[0] - point[0], found[1] - point[1], found[2] - point[2])))
            store(jacobian_J6[j], 3, (ROTATION_WEIGHT_M * axis[0], ROTATION_WEIGHT_M * axis[1],
                                      ROTATION_WEIGHT_M * axis[2]))
            change_J[j] = POSTURE_GAIN * (chain_JP[j, 8] - joints_J[j])
        for a in range(6):
            for b in range(a + 1):
                total = DAMPING if a == b else 0.0
                for j in range(count):
                    total += jacobian_J6[j, a] * jacobian_J6[j, b]
                normal[a, b] = total
            for j in range(count):
                error[a] -= jacobian_J6[j, a] * change_J[j]
        solve_spd(normal, error)
        largest = STEP_LIMIT_RAD
        for j in range(count):
            for a in range(6):
                change_J[j] += jacobian_J6[j, a] * error[a]
            largest = max(largest, abs(change_J[j]))
        for j in range(count):
            joint = joints_J[j] + change_J[j] * (STEP_LIMIT_RAD / largest)
            joints_J[j] = min(max(joint, chain_JP[j, 6]), chain_JP[j, 7])


@cached(*FILES)
@kernel
def reach(chain_JP, tool_T3, iterations, joints_J, pose_P):
    """Move ``joints_J`` towards ``pose_P`` (position, then rotation) and put into ``pose_P`` where the tool is then."""
    follow(chain_JP, tool_T3, triple(pose_P, 0), rows(pose_P, 3), iterations, joints_J)
    axes_J3, points_J3 = np.empty((chain_JP.shape[0], 3)), np.empty((chain_JP.shape[0], 3))
    position, rotation = forward(chain_JP, tool_T3, joints_J, axes_J3, points_J3)
    store(pose_P, 0, position)
    store_rows(pose_P, 3, rotation)


@cached(*FILES)
@kernel
def advance(chain_JP, tool_T3, limits_L, actions_NA, control_NC, joints_NRJ):
    """Add every world's action to its target pose in each of R substeps; ``joints_NRJ`` gets the joints to command.

    Returns -1, or the first world whose action is not seven finite numbers in [-1, 1]: then nothing has changed.
    """
    for n in range(actions_NA.shape[0]):
        for value in actions_NA[n]:
            if not abs(value) <= LEGAL:  # holds for NaN too
                return n
    axes_J3, points_J3 = np.empty((chain_JP.shape[0], 3)), np.empty((chain_JP.shape[0], 3))
    for n in range(actions_NA.shape[0]):
        action, control = actions_NA[n], control_NC[n]
        scale = limits_L[LIMIT_TURN_RAD]
        turn = (scale * action[3], scale * action[4], scale * action[5])
        control[CONTROL_GRIPPER] = 1.0 if action[6] > 0 else -1.0
        joints_J = control[CONTROL_JOINTS:CONTROL_GRIPPER]
        for r in range(joints_NRJ.shape[1]):
            for i in range(3):
                moved = control[i] + limits_L[LIMIT_MOVE_M] * action[i]
                control[i] = min(max(moved, limits_L[LIMIT_LOW_M + i]), limits_L[LIMIT_HIGH_M + i])
            rotation = rows(control, CONTROL_ROTATION)
            turned = turned_by(rotation, turn)
            _, followed = forward(chain_JP, tool_T3, joints_J, axes_J3, points_J3)
            # a turn too far, in tilt or from where the joints are, is not made; one that leads back is
            upright = turned[2][2] <= -limits_L[LIMIT_TILT_COS] or turned[2][2] <= rotation[2][2]
            near = cosine(turned, followed) >= min(math.cos(AHEAD_RAD), cosine(rotation, followed))
            if upright and near:
                rotation = turned
                store_rows(control, CONTROL_ROTATION, rotation)
            follow(chain_JP, tool_T3, triple(control, 0), rotation, ITERATIONS, joints_J)
            for j in range(joints_NRJ.shape[2]):
                joints_NRJ[n, r, j] = joints_J[j]
    return -1


@cached(*FILES)
@kernel
def shorten_leash(limits_L, site, site_xpos_NS3, site_xmat_NS9, control_NC):
    """Pull every target pose to within the leash of the measured pose of ``site``."""
    for n in range(control_NC.shape[0]):
        control, found = control_NC[n], triple(site_xpos_NS3[n, site], 0)
        offset = (control[0] - found[0], control[1] - found[1], control[2] - found[2])
        length = math.sqrt(dot(offset, offset))
        if length > limits_L[LIMIT_LEASH_M]:
            share = limits_L[LIMIT_LEASH_M] / length
            store(control, 0, (found[0] + share * offset[0], found[1] + share * offset[1],
                               found[2] + share * offset[2]))
        found_rotation = rows(site_xmat_NS9[n, site], 0)
        turn = product(rows(control, CONTROL_ROTATION), columns(found_rotation))
        angle = math.acos(min(max(cosine(rows(control, CONTROL_ROTATION), found_rotation), -1.0), 1.0))
        # a hand that was bent further than a target may be must be able to come back
        within = found_rotation[2][2] < -limits_L[LIMIT_TILT_COS]
        if within and limits_L[LIMIT_LEASH_RAD] < angle < math.pi - 1e-3:
            share = 0.5 * limits_L[LIMIT_LEASH_RAD] / math.sin(angle)
            vector = (share * (turn[2][1] - turn[1][2]), share * (turn[0][2] - turn[2][0]),
                      share * (turn[1][0] - turn[0][1]))
            store_rows(control, CONTROL_ROTATION, turned_by(found_rotation, vector))
