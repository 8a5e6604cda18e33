"""Every tolerance of the tests, in one place, with its reason."""

# Two ways to the same number in float64, through a few dozen operations of order one.
EXACT = 1e-10

# A handful of operations of order one in float64: one step's local Jacobian.
LOCAL = 1e-12

# A linear system loses its condition times the rounding of float64, a few dozen times over.
PER_CONDITION = 1e-14

# The same, after ten updates: solves with the damped factors multiply rounding by their condition.
TRAJECTORY = 1e-8

# One update in float32 beside float64: 24 bits, a few dozen operations, conditions up to 1e2.
SINGLE = 2e-5

# Ten updates in float32.
SINGLE_TRAJECTORY = 2e-3

# The slope of log error against log draws is -1/2. An error is the root mean square of 16 calls,
# over three or more free elements: its logarithm spreads by about 0.12, and the slope over five
# numbers of draws, each four times the one before, by about 0.03.
MONTE_CARLO_SLOPE = 0.12

# The relative error of a Monte-Carlo factor, times the square root of the draws, is of order the
# spread of one draw over its mean: sqrt(2 d) for a d-dimensional Gaussian, and d is at most five.
MONTE_CARLO_CONSTANT = 5.0

# Fifty adaptive updates in float64. Training is chaotic where lambda is small: at a hundredth of
# the curvature's mean eigenvalue rounding grows some thousandfold in ten updates. The recipes keep
# lambda above a tenth of it, where the two stay together to 1e-11 on most processors, and to 2e-8
# on all that were tried.
ADAPTIVE_TRAJECTORY = 1e-7

# Twenty adaptive updates in float32 of one loss in three units: each rounding of 6e-8 grows with
# the training, by a hundred or so, and the units round differently.
SCALED_TRAJECTORY = 2e-4

# PER_CONDITION in float32.
PER_CONDITION_SINGLE = 5e-6
