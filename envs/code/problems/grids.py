"""Grids: lists of rows of the same length."""

from envs.code.problems.task import choice, grid, lists, task, text, whole

SMALL = whole(-9, 9)
BIT = choice(0, 1)


@task(1)
def row_sums(grid: list[list[int]]) -> list[int]:
    """Return the sum of each row."""
    return [sum(row) for row in grid]


@task(1)
def column_maxima(grid: list[list[int]]) -> list[int]:
    """Return the largest number of each column."""
    return [max(column) for column in zip(*grid)]


@task(1)
def transpose(grid: list[list[int]]) -> list[list[int]]:
    """Return the grid with rows and columns exchanged."""
    return [list(column) for column in zip(*grid)]


@task(2)
def turn_right(grid: list[list[int]]) -> list[list[int]]:
    """Return the grid turned clockwise by a quarter."""
    return [list(column) for column in zip(*reversed(grid))]


@task(1, grid=grid(SMALL, 1, 4, square=True))
def diagonal_sum(grid: list[list[int]]) -> int:
    """The grid has as many rows as columns. Return the sum of the numbers from its top left corner down
    to its bottom right one."""
    return sum(row[place] for place, row in enumerate(grid))


@task(1, k=whole(-6, 6))
def count_above(grid: list[list[int]], *, k: int) -> int:
    """Return how many numbers of the grid are greater than {k}."""
    return sum(value > k for row in grid for value in row)


@task(2)
def border_sum(grid: list[list[int]]) -> int:
    """Return the sum of the numbers in the first and last row and in the first and last column, each
    place once."""
    inside = sum(sum(row[1:-1]) for row in grid[1:-1])
    return sum(map(sum, grid)) - inside


@task(3)
def spiral(grid: list[list[int]]) -> list[int]:
    """Return the numbers of the grid on a way that starts at the top left, goes right along the first
    row, down the last column, back along the last row, up, and so on inwards."""
    found: list[int] = []
    rows = [list(row) for row in grid]
    while rows:
        found += rows.pop(0)
        rows = [list(column) for column in zip(*rows)][::-1]
    return found


@task(2, grid=grid(BIT, 1, 3, square=True))
def is_symmetric(grid: list[list[int]]) -> bool:
    """The grid has as many rows as columns. Return whether it stays the same when rows and columns are
    exchanged."""
    return grid == [list(column) for column in zip(*grid)]


@task(2, n=whole(1, 12), marks=choice("#.", "xo", "*-", "10"))
def chessboard(n: int, *, marks: str) -> list[str]:
    """Return n rows of n characters that take turns like the fields of a chessboard, made of the two
    characters {marks}, of which the first stands at the top left."""
    return ["".join(marks[(row + column) % 2] for column in range(n)) for row in range(n)]


@task(1, n=whole(1, 12), k=whole(1, 4))
def multiplication_rows(n: int, *, k: int) -> list[list[int]]:
    """Return {k} rows of n numbers: in row r, counted from 1, stand r times 1, r times 2, up to r times
    n."""
    return [[row * column for column in range(1, n + 1)] for row in range(1, k + 1)]


@task(3, grid=grid(BIT, 1, 4))
def count_islands(grid: list[list[int]]) -> int:
    """The ones in the grid are land, the zeros water. Land belongs together where it touches above,
    below, left or right. Return the number of separate pieces of land."""
    land = {(r, c) for r, row in enumerate(grid) for c, value in enumerate(row) if value}
    pieces = 0
    while land:
        pieces += 1
        waiting = [land.pop()]
        while waiting:
            r, c = waiting.pop()
            near = {(r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)} & land
            land -= near
            waiting += near
    return pieces


@task(2, grid=grid(BIT, 1, 4))
def neighbour_counts(grid: list[list[int]]) -> list[list[int]]:
    """Return a grid of the same size that says for each place how many of the up to eight places
    around it hold a 1."""

    def value(r: int, c: int) -> int:
        return grid[r][c] if 0 <= r < len(grid) and 0 <= c < len(grid[0]) else 0

    def around(r: int, c: int) -> int:
        return sum(value(r + dr, c + dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1)) - value(r, c)

    return [[around(r, c) for c in range(len(grid[0]))] for r in range(len(grid))]


@task(3, grid=grid(whole(0, 9), 1, 4))
def cheapest_path(grid: list[list[int]]) -> int:
    """Go from the top left to the bottom right of the grid by steps to the right or down. Return the
    smallest possible sum of the numbers on the way, both ends included."""
    cost = [0] + [10**9] * (len(grid[0]) - 1)
    for row in grid:
        for column, value in enumerate(row):
            cost[column] = value + min(cost[column], cost[column - 1] if column else 10**9)
    return cost[-1]


@task(2, a=whole(1, 6), b=whole(1, 6), blocked=choice(0, 1, 2))
def grid_paths(a: int, b: int, *, blocked: int) -> int:
    """A grid has a rows and b columns, and the first {blocked} fields of its second row, counted from
    the left, are walls; where there is no such field there is no wall. Return the number of ways
    from the top left to the bottom right by steps to the right or down; walls can't be entered."""
    ways = [1] + [0] * (b - 1)
    for row in range(a):
        for column in range(b):
            if row == 1 and column < blocked:
                ways[column] = 0
            elif column:
                ways[column] += ways[column - 1]
    return ways[-1]


@task(2, rows=lists(text("#.", 4, 4), 1, 4), mark=choice("#", "."))
def widest_run(rows: list[str], *, mark: str) -> int:
    """Return the length of the longest run of the character {mark} without a gap in any of the rows."""
    other = "." if mark == "#" else "#"
    return max(len(run) for row in rows for run in row.split(other))


@task(2, rows=grid(choice("x", "o"), 3, 3))
def line_winner(rows: list[list[str]]) -> str:
    """The grid is three by three. Return x or o, whichever fills some whole row; if both do, or none
    does, return an empty text."""
    winners = {row[0] for row in rows if len(set(row)) == 1}
    return winners.pop() if len(winners) == 1 else ""


@task(2, grid=grid(whole(1, 9), 2, 4, square=True))
def secondary_diagonal(grid: list[list[int]]) -> list[int]:
    """The grid has as many rows as columns. Return the numbers from its top right corner down to its
    bottom left one."""
    return [row[-1 - place] for place, row in enumerate(grid)]


@task(1, grid=grid(SMALL, 1, 4), k=whole(2, 5))
def scale_grid(grid: list[list[int]], *, k: int) -> list[list[int]]:
    """Return the grid with every number multiplied by {k}."""
    return [[k * value for value in row] for row in grid]


@task(2, a=grid(SMALL, 2, 2), b=grid(SMALL, 2, 2))
def multiply_matrices(a: list[list[int]], b: list[list[int]]) -> list[list[int]]:
    """Return the matrix product of a and b, both with two rows and two columns."""
    return [[sum(x * y for x, y in zip(row, column)) for column in zip(*b)] for row in a]
