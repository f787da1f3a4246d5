"""An early warning score for adults: points for each sign that is off, and a colour."""

# sign: (lowest, highest, points) of the bands that give points; what lies in none gives none.
BANDS = {
    "respiration": [(0, 8, 3), (9, 11, 1), (21, 24, 2), (25, 80, 3)],
    "oxygen": [(0, 91, 3), (92, 93, 2), (94, 95, 1)],
    "pulse": [(0, 40, 3), (41, 50, 1), (91, 110, 1), (111, 130, 2), (131, 300, 3)],
    "systolic": [(0, 90, 3), (91, 100, 2), (101, 110, 1), (220, 350, 3)],
}


def points(sign, value):
    return next((given for low, high, given in BANDS[sign] if low <= value <= high), 0)


def level(total):
    return "red" if total >= 7 else "yellow" if total >= 4 else "green"


def step(state):
    vitals = state["data"]["vitals"]
    missing = [sign for sign in BANDS if vitals.get(sign) is None]
    if missing:
        raise ValueError(f"not measured: {', '.join(missing)}")
    by_sign = {sign: points(sign, vitals[sign]) for sign in BANDS}
    total = sum(by_sign.values())
    return {**state, "score": {"total": total, "level": level(total), "signs": by_sign}}
