from report.spans import read_spans

FIELDS = {"numbers": [1, 17, 17], "target": 35}


def spans(text, fields=FIELDS):
    found = read_spans(fields, text)
    assert found == sorted(found) and all(one.end <= after.start for one, after in zip(found, found[1:]))
    return [(text[one.start : one.end], one.kind) for one in found]


def test_the_spans_of_a_search_by_the_tiny_model():
    text = " 17 - 1 = 16, 17 + 16 = 33 low\n 17 + 2 = 19, 19 + 17 = 36 low\n 17 + 1 = 18, 18 + 17 = 35 yes\n"
    text += "</think> <answer> ( 17 + 1 ) + 17 </answer>"
    assert spans(text) == [
        ("17 - 1 = 16, 17 + 16 = 33", "miss"),
        ("low", "verdict_true"),
        ("17 + 2 = 19, 19 + 17 = 36", "slip"),
        ("low", "verdict_false"),
        ("17 + 1 = 18, 18 + 17 = 35", "hit"),
        ("yes", "verdict_true"),
        ("( 17 + 1 ) + 17", "answer"),
    ]


def test_false_arithmetic_is_a_slip_and_its_yes_is_false():
    assert spans("17 + 1 = 18, 18 + 17 = 34 yes") == [("17 + 1 = 18, 18 + 17 = 34", "slip"), ("yes", "verdict_false")]


def test_a_target_reached_without_all_numbers_is_a_slip():
    assert spans("34 + 1 = 35 yes") == [("34 + 1 = 35", "slip"), ("yes", "verdict_false")]
    assert spans("1 + 17 = 18 yes", {"numbers": [1, 17, 17], "target": 18})[0] == ("1 + 17 = 18", "slip")


def test_text_between_the_equations_of_a_try_has_no_span():
    text = "First 17 + 1 = 18. That is too low. Then 18 + 17 = 35, which equals 35. <answer>7</answer>"
    assert spans(text) == [
        ("17 + 1 = 18", "hit"),
        ("too low", "verdict_true"),
        ("18 + 17 = 35", "hit"),
        ("equals 35", "verdict_true"),
        ("7", "answer"),
    ]


def test_a_backward_step_from_the_target_is_a_miss_not_a_slip():
    assert spans("35 - 17 = 18\n17 + 1 = 18") == [("35 - 17 = 18", "miss"), ("17 + 1 = 18", "miss")]


def test_spans_are_exact_in_text_with_other_operator_signs():
    assert spans("✓ 17 × 1 = 17, 17 − 17 = 0 low") == [("17 × 1 = 17, 17 − 17 = 0", "miss"), ("low", "verdict_true")]
    assert spans(r"\(17 \times 1 = 17\)") == [(r"17 \times 1 = 17", "miss")]


def test_equations_of_other_tasks_are_true_or_slips():
    text = "40 * 8 = 320, 1200 + 320 = 1530 </think><answer></answer>"
    assert spans(text, {"a": 47, "b": 38}) == [
        ("40 * 8 = 320", "miss"),
        ("1200 + 320 = 1530", "slip"),
    ]


def test_only_the_last_answer_tag_has_a_span():
    assert spans("</think><answer>1</answer> <answer> 2 </answer>") == [("2", "answer")]
    assert spans("nothing here") == []
