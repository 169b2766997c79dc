import copy
import json
import tracemalloc

import pyarrow
import pytest
from pyarrow import parquet
from transformers import AutoTokenizer

from conf.sft import DataConfig
from tests.builders import example, tokenizer_with_bos
from workers.examples import Example, Examples, check_held_out, hold_out, load_examples, read_example
from workers.tokenization import encode

TINY = "envs/countdown/models/tiny"
CHATML = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% if not loop.last or not continue_final_message %};{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"  # noqa: E501


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY)


@pytest.fixture(scope="module")
def chat_tokenizer(tmp_path_factory):
    """A tokenizer with one token for each character, and a chat template."""
    from tools.tiny_base.blank import make_tokenizer

    made = make_tokenizer([chr(code) for code in range(33, 127)])
    made.chat_template = CHATML
    return made


def learned(found: Example, tokenizer) -> str:
    """The tokens that carry loss, as text."""
    kept = [token for token, carries in zip(found.token_ids, found.carries_loss, strict=True) if carries]
    return tokenizer.decode(kept)


def test_the_loss_of_a_prompt_and_completion_is_that_of_the_completion_and_its_end(tokenizer):
    found = read_example(
        {"prompt": "make 12 from 16 8 4\n<think>\n", "completion": " 16 - 8"}, tokenizer, "completion", ""
    )
    assert tokenizer.decode(found.prompt_ids) == "make 12 from 16 8 4\n<think>\n"
    assert learned(found, tokenizer) == " 16 - 8<|endoftext|>"


def test_a_truncated_completion_has_no_end(tokenizer):
    row = {"prompt": "make 12 from 16 8 4\n", "completion": " 16 - 8", "truncated": True}
    assert learned(read_example(row, tokenizer, "completion", ""), tokenizer) == " 16 - 8"


def test_a_completion_continues_the_last_message_of_the_assistant(chat_tokenizer):
    prompt = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "so"}]
    found = read_example({"prompt": prompt, "completion": "far"}, chat_tokenizer, "completion", "")
    assert chat_tokenizer.decode(found.prompt_ids) == "[user]hi;[assistant]so"
    assert learned(found, chat_tokenizer) == "far<|endoftext|>"


def test_each_turn_of_the_assistant_carries_loss_and_nothing_else_does(chat_tokenizer):
    roles = ["system", "user", "assistant", "user", "assistant"]
    messages = [{"role": role, "content": f"{role[0]}{index}"} for index, role in enumerate(roles)]
    found = read_example({"messages": messages}, chat_tokenizer, "completion", "")
    assert learned(found, chat_tokenizer) == "a2;a4;<|endoftext|>"
    whole = chat_tokenizer.decode([*found.prompt_ids, *found.token_ids])
    assert whole == "[system]s0;[user]u1;[assistant]a2;[user]u3;[assistant]a4;<|endoftext|>"


def test_messages_of_a_completion_carry_loss_and_those_of_its_prompt_do_not(chat_tokenizer):
    prompt = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "v"}]
    row = {"prompt": prompt, "completion": [{"role": "assistant", "content": "b"}]}
    assert learned(read_example(row, chat_tokenizer, "completion", ""), chat_tokenizer) == "b;<|endoftext|>"


def test_a_conversation_ends_with_the_end_token_once_whatever_token_the_template_ends_turns_with(chat_tokenizer):
    """The bases of Qwen2.5 end turns with <|im_end|>, at which generation with them does not stop."""
    ends_turns = copy.deepcopy(chat_tokenizer)
    ends_turns.chat_template = CHATML.replace(";", "<|endoftext|>;")
    messages = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    for tokenizer, expected in ((chat_tokenizer, "a;<|endoftext|>"), (ends_turns, "a<|endoftext|>;")):
        for row in ({"messages": messages}, {"prompt": messages[:1], "completion": messages[1:]}):
            assert learned(read_example(row, tokenizer, "completion", ""), tokenizer) == expected


def test_a_truncated_turn_has_neither_the_end_token_nor_the_end_of_the_chat_template(chat_tokenizer):
    """In the chat template of this tokenizer a turn ends with ";"."""
    messages = [{"role": role, "content": f"{role[0]}{index}"} for index, role in enumerate(["user", "assistant"] * 2)]
    rows = {"a1;a3": {"messages": messages}, "a3": {"prompt": messages[:3], "completion": messages[3:]}}
    for expected, row in rows.items():
        found = read_example({**row, "truncated": True}, chat_tokenizer, "completion", "")
        assert learned(found, chat_tokenizer) == expected
        whole = chat_tokenizer.decode([*found.prompt_ids, *found.token_ids])
        assert whole == "[user]u0;[assistant]a1;[user]u2;[assistant]a3"


def test_all_tokens_but_the_first_carry_loss_on_request_and_in_plain_text(tokenizer):
    row = {"prompt": "make 12 from 16 8 4\n", "completion": " 16 - 8"}
    assert learned(read_example(row, tokenizer, "all", ""), tokenizer).endswith(" 12 from 16 8 4\n 16 - 8<|endoftext|>")
    text = read_example({"text": " 16 - 8"}, tokenizer, "completion", "")
    assert tokenizer.decode(text.prompt_ids) == " 16" and learned(text, tokenizer) == " - 8<|endoftext|>"


def test_plain_text_begins_with_the_bos_token_once_as_it_does_during_generation(tokenizer):
    adds_bos, prompt = tokenizer_with_bos(), "make 12 from 16 8 4\n"
    row = {"prompt": prompt, "completion": " 16 - 8"}
    found, plain = (read_example(row, each, "completion", "") for each in (adds_bos, tokenizer))
    assert list(found.prompt_ids) == encode(adds_bos, prompt) == [0, *plain.prompt_ids]
    assert (found.token_ids, found.carries_loss) == (plain.token_ids, plain.carries_loss)
    for text in (" 16 - 8", "<|endoftext|> 16 - 8"):
        found = read_example({"text": text}, adds_bos, "completion", "")
        assert found.prompt_ids == (0,) and learned(found, adds_bos) == " 16 - 8<|endoftext|>"


def test_messages_have_no_bos_token_but_that_of_the_template():
    adds_bos = tokenizer_with_bos()
    turns = "{% for m in messages %} 1{{ m.content }} 0{% endfor %}{% if add_generation_prompt %} 1{% endif %}"
    adds_bos.chat_template = "{{ bos_token }}" + turns
    messages = [{"role": "user", "content": " 2"}, {"role": "assistant", "content": " 3"}]
    found = read_example({"messages": messages}, adds_bos, "completion", "")
    assert adds_bos.decode(found.prompt_ids) == "<|endoftext|> 1 2 0 1"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": " 1"}], "rows.jsonl:1 has no text; a row must have the fields prompt and completion, messages"),
        ([{"completion": " 1"}], "rows.jsonl:1 has no prompt"),
        ([{"prompt": " 1", "completion": None}], "rows.jsonl:1 has no text"),
        ([{"prompt": 3, "completion": " 1"}], "rows.jsonl:1: prompt must be text or a list of messages .*, got '3'"),
        ([{"prompt": " 1", "completion": 3}], "rows.jsonl:1: completion must be text or a list of messages"),
        ([{"prompt": [], "completion": " 1"}], "prompt must be text or a list of messages"),
        ([{"prompt": " 1", "completion": [{"role": "assistant", "content": "1"}]}], "so the prompt must be one too"),
        ([{"messages": " 1"}], "rows.jsonl:1: messages must be a list of messages with role and content"),
        ([{"messages": [{"content": " 1"}]}], "messages must be a list of messages with role and content"),
        ([{"messages": []}], "messages must be a list of messages"),
        ([{"text": [" 1 0", " 3"]}], "rows.jsonl:1: text must be text, got"),
        ([{"text": 5}], "rows.jsonl:1: text must be text, got '5'"),
        *(
            ([{"text": " 1", "weight": weight}], "rows.jsonl:1: weight must be a number above 0 and at most 1,000,000")
            for weight in (-1, 0, 1e300, 10**400, float("nan"), "abc", True)
        ),
        ([{"prompt": " 1", "completion": "Paris"}], "rows.jsonl:1: the tokenizer of the model reads 'Paris' as ''"),
        ([{"messages": [{"role": "user", "content": " 1"}]}], "has messages, but the model has no chat template"),
        (["not an object"], "rows.jsonl:1: not a JSON object; correct or remove the line"),
        ([{"text": " 1", "note": "\ud83d"}], r"rows.jsonl:1: contains '\\ud83d', which is half of a character"),
        ([], "rows.jsonl has no rows"),
        ([{"text": " 1" * 200}], "has no example of at most 100 tokens; raise data.max_tokens"),
    ],
)
def test_a_malformed_row_is_an_error_with_its_line(tmp_path, tokenizer, rows, message):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match=message) as refused:
        load_examples(DataConfig([str(path)]), tokenizer, 100, 0)
    assert len(str(refused.value)) < 400 + len(str(path))


def test_fields_that_are_null_as_in_parquet_files_of_several_forms_are_ignored(tokenizer):
    nulls = {"prompt": None, "completion": None, "messages": None, "weight": None, "env": None, "key": None}
    plain = read_example({"text": " 16 - 8"}, tokenizer, "completion", "")
    assert read_example({"text": " 16 - 8", **nulls}, tokenizer, "completion", "") == plain


def test_messages_that_the_chat_template_refuses_are_an_error_with_their_line(chat_tokenizer):
    for messages, message in (
        ([{"role": "assistant", "content": "a"}], "rows:7: the assistant begins the conversation"),
        ([{"role": "user", "content": "u"}], "rows:7 has no message of the assistant"),
    ):
        with pytest.raises(ValueError, match=message):
            read_example({"messages": messages}, chat_tokenizer, "completion", "rows:7")
    strict = copy.deepcopy(chat_tokenizer)
    strict.chat_template = "{{ raise_exception('roles must alternate') }}"
    messages = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    with pytest.raises(ValueError, match=r"rows:7: the chat template .* refuses the messages \(roles must alternate\)"):
        read_example({"messages": messages}, strict, "completion", "rows:7")


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more"])
def test_a_file_that_is_not_parquet_is_named(tmp_path, tokenizer, content):
    path = tmp_path / "rows.parquet"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="rows.parquet is not a parquet file"):
        load_examples(DataConfig([str(path)]), tokenizer, 100, 0)


def test_a_parquet_file_with_damaged_pages_is_named(tmp_path, tokenizer):
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"text": [f"row {number}" for number in range(1000)]}), path)
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(200) + content[204:])
    with pytest.raises(ValueError, match="rows.parquet is not a parquet file, or is damaged"):
        load_examples(DataConfig([str(path)]), tokenizer, 100, 0)


def test_json_that_is_nested_too_deeply_is_not_json(tmp_path, tokenizer):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    with pytest.raises(ValueError, match="rows.jsonl:1: not JSON"):
        load_examples(DataConfig([str(path)]), tokenizer, 100, 0)


def write(path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_examples_that_do_not_fit_are_left_out_and_named(tmp_path, tokenizer):
    rows = [{"prompt": " 1", "completion": " 2" * count} for count in (1, 9, 2)]
    found = load_examples(DataConfig([write(tmp_path / "rows.jsonl", rows)]), tokenizer, 5, 0)
    assert [one.num_tokens for one in found.training] == [3, 4]
    assert found.too_long == [(f"{tmp_path}/rows.jsonl:2", 11)]


def test_a_token_takes_few_bytes_and_the_tokens_of_examples_that_are_left_out_none(tmp_path):
    from tools.tiny_base.blank import make_tokenizer

    tokenizer = make_tokenizer([f" {number}" for number in range(400)])  # Python itself shares integers up to 256

    def load(lengths):
        path = write(tmp_path / "rows.jsonl", [{"prompt": " 1", "completion": " 399" * length} for length in lengths])
        return load_examples(DataConfig([path]), tokenizer, 1010, 0)

    load([1000])  # imports
    tracemalloc.start()
    found = load([1000] * 50 + [2000] * 50)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.too_long) == 50 and taken < 25 * 1000 * 50


def test_a_ratio_takes_the_largest_parts_with_these_proportions(tmp_path, tokenizer):
    traces = write(tmp_path / "a.jsonl", [{"prompt": " 1", "completion": f" {n}"} for n in range(30)])
    general = write(tmp_path / "b.jsonl", [{"prompt": " 2", "completion": f" {n}"} for n in range(20)])
    found = load_examples(DataConfig([traces, general], ratio=[3, 1], held_out_rows=0), tokenizer, 100, 0)
    one, two = (tokenizer.convert_tokens_to_ids(f" {n}") for n in (1, 2))
    assert [one_.prompt_ids[0] for one_ in found.training] == [one] * 30 + [two] * 10


def test_the_seed_and_not_the_path_selects_the_examples_of_a_ratio(tmp_path, tokenizer):
    def chosen(folder, seed):
        (tmp_path / folder).mkdir(exist_ok=True)
        rows = [{"prompt": " 1", "completion": f" {n}"} for n in range(20)]
        paths = [write(tmp_path / folder / name, rows[:size]) for name, size in (("a.jsonl", 5), ("b.jsonl", 20))]
        return load_examples(DataConfig(paths, ratio=[1, 1], held_out_rows=0), tokenizer, 100, seed).sha256

    assert chosen("one", 0) == chosen("two", 0) != chosen("one", 1)


def test_a_prompt_is_held_out_as_a_whole_if_the_loss_is_that_of_all_tokens(tmp_path, tokenizer):
    rows = [{"prompt": f" {n} -", "completion": f" {m}"} for n in range(20) for m in range(4)]
    path = write(tmp_path / "rows.jsonl", rows)
    found = load_examples(DataConfig([path], loss_on="all", held_out_rows=8), tokenizer, 100, 0)
    held_out, training = (
        {one.token_ids[:1] + one.prompt_ids for one in part} for part in (found.held_out, found.training)
    )
    assert (
        len(found.held_out) == 8
        and len(held_out) == 2
        and not {one.group for one in found.held_out} & {one.group for one in found.training}
    )


def test_parquet_and_folders_give_the_same_examples_as_jsonl(tmp_path, tokenizer):
    from datasets import Dataset

    rows = [{"prompt": f" {n}", "completion": f" {n + 1}"} for n in range(20)]
    (tmp_path / "folder").mkdir()
    Dataset.from_list(rows).to_parquet(tmp_path / "rows.parquet")
    write(tmp_path / "folder" / "data.jsonl", rows)
    paths = [write(tmp_path / "rows.jsonl", rows), str(tmp_path / "rows.parquet"), str(tmp_path / "folder")]
    found = {load_examples(DataConfig([path]), tokenizer, 100, 0).sha256 for path in paths}
    assert len(found) == 1


def test_examples_with_the_same_prompt_are_held_out_together_in_any_order():
    examples = [example([1, prompt], [token]) for prompt in range(20) for token in range(3)]
    training, held_out = hold_out(examples, 6)
    assert len(held_out) == 6 and len(training) == 54
    assert not {one.prompt_ids for one in training} & {one.prompt_ids for one in held_out}
    _, reversed_held_out = hold_out(examples[::-1], 6)
    assert set(reversed_held_out) == set(held_out)
    assert len(hold_out(examples, 1000)[1]) <= 6  # a tenth


def test_an_example_of_a_held_out_problem_is_refused_whatever_its_task():
    examples = Examples([example([1], [2]), example([1], [2], problem=("countdown", "4 8 16 -> 12"))], [], [])
    check_held_out(examples, {"1 2 3 -> 6"})
    with pytest.raises(
        ValueError, match="rows.jsonl:1: the problem 4 8 16 -> 12 of countdown is in the evaluation set"
    ):
        check_held_out(examples, {"4 8 16 -> 12"})
