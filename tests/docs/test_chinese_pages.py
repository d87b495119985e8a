"""The Chinese pages have the commands, code, numbers, figures and links of the English ones, section by section."""
import re
from pathlib import Path

import pytest
from commands import CHINESE, ROOT, documented_commands
from test_pages import without_code

# Sections that only the Chinese pages have, and the page that only shows another on the site.
ONLY_CHINESE = re.compile(r'^#+ (在国内|中文)')
PAIRS = [(page.parent.parent / page.name, page) for page in CHINESE if page.name != 'readme.md' and page.parent != ROOT]
PAIRS.append((ROOT / 'README.md', ROOT / 'README_zh-CN.md'))
IN_CHINESE = dict(PAIRS)
FENCE = re.compile(r'^ *```(\w+)\n(.*?)^ *```$', flags=re.S | re.M)
LINK = re.compile(r'\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"')


def sections(text: str) -> list[str]:
    """Return the sections of a page, those left out that have no English counterpart."""
    code = FENCE.findall(text)
    parts = re.split(r'^(?=#+ )', FENCE.sub('```', text), flags=re.M)
    whole, blocks = [], iter(code)
    for part in parts[1:]:
        whole.append(re.sub('```', lambda _: '```{}\n{}```'.format(*next(blocks)), part))  # noqa: B023
    return [part for part in whole if not ONLY_CHINESE.match(part)]


def code_blocks(section: str) -> list[tuple[str, str]]:
    """Return language and text of the blocks; comments of code are translated, what programs print is not."""
    return [(language, text if language == 'text' else re.sub(r' *(?<![^\s])# .*', '', text))
            for language, text in FENCE.findall(section)]


def inline_code(section: str) -> set[str]:
    return {' '.join(code.split()) for code in re.findall(r'`([^`]+)`', FENCE.sub('', section))}


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r'\d+(?:[.,]\d+)*', text))


def targets(section: str, page: Path) -> set[str]:
    """Return what a section links to and shows, an English page for a Chinese one."""
    english, found = {zh: en for en, zh in PAIRS}, set()
    for name in map(''.join, LINK.findall(FENCE.sub('', section))):
        file = (page.parent / name.partition('#')[0]).resolve()
        found.add(name if '://' in name else str(english.get(file, file)))
    return found


def differences(english: str, chinese: str, pages: tuple[Path, Path]) -> list[str]:
    """Say in which sections two pages differ, and in what."""
    theirs, ours = sections(english), sections(chinese)
    levels = [[re.match('#+', part)[0] for part in page] for page in (theirs, ours)]
    if levels[0] != levels[1]:
        return [f'sections: {levels}']
    faults = []
    for en, zh in zip(theirs, ours):
        title = en.partition('\n')[0]
        if code_blocks(en) != code_blocks(zh):
            faults.append(f'{title}: blocks of code')
        if odd := inline_code(en) ^ inline_code(zh):
            faults.append(f'{title}: {sorted(odd)}')
        rows = [[numbers(row) for row in re.findall(r'^\|.*', part, flags=re.M)] for part in (en, zh)]
        if rows[0] != rows[1]:
            faults.append(f'{title}: numbers of a table: {[pair for pair in zip(*rows) if pair[0] != pair[1]]}')
        if missing := set(numbers(en)) - set(numbers(zh)):
            faults.append(f'{title}: numbers {sorted(missing)}')
        if odd := targets(en, pages[0]) ^ targets(zh, pages[1]):
            faults.append(f'{title}: links or figures {sorted(odd)}')
    return faults


@pytest.mark.parametrize('pages', PAIRS, ids=lambda pair: pair[0].stem)
def test_the_chinese_page_says_what_the_english_one_says(pages):
    assert not differences(*(page.read_text(encoding='utf-8') for page in pages), pages)


@pytest.mark.parametrize('pages', PAIRS, ids=lambda pair: pair[0].stem)
def test_a_change_of_the_english_page_alone_is_noticed(pages):
    english, chinese = (page.read_text(encoding='utf-8') for page in pages)
    changes = [(line, f'{line}x') for line in documented_commands(pages[0])]
    changes += [(code, f'{code[:-1]}x`') for code in re.findall(r'`[^`\n]+`', without_code(pages[0]))[::5]]
    changes += [(row, re.sub(r'\d', '77', row, count=1)) for row in re.findall(r'^\|.*\d.*', english, flags=re.M)]
    for old, new in changes:
        assert differences(english.replace(old, new), chinese, pages), new


def test_the_pages_name_each_other():
    for english, chinese in PAIRS:
        heads = [page.read_text(encoding='utf-8').splitlines()[2] for page in (english, chinese)]
        assert heads[0].startswith('English | [简体中文](') and heads[1].startswith('[English](')
        assert heads[1].endswith(' | 简体中文')
        assert (english.parent / re.search(r'\((.+)\)', heads[0])[1]).resolve() == chinese
        assert (chinese.parent / re.search(r'\((.+)\)', heads[1])[1]).resolve() == english


def test_chinese_and_latin_are_set_apart():
    for page in CHINESE:
        text = re.sub(r'\]\([^)]*\)|<[^>]*>|\*', '', re.sub(r'`[^`]*`', 'code', without_code(page)))
        assert not re.findall(r'.*[\u4e00-\u9fff][A-Za-z0-9].*|.*[A-Za-z0-9][\u4e00-\u9fff].*', text), page
        assert not re.findall(r'.*[\u4e00-\u9fff][,;:?!(].*', text), page
