#!/usr/bin/env python3
"""Makes the manual pages of section 3 from the comments of the public headers.

    tools/man_pages.py --output DIRECTORY [--date YYYY-MM-DD] [--version 0.2.0] HEADER...

A page is one comment of a header with the declarations that follow it, named after the first function
among them; the other names are links to it (`.so`). A comment that cannot be read without the one before
("The same, ...", "as above") joins that one's page. A type without a comment belongs to the comment that
follows. Each header has a page of its own, casyncio_<header>, with its first comment and the list of its
pages.

The ERRORS of a page are the codes that its comment names, each with the words beside it; the whole
comment is its DESCRIPTION. Pages are in mdoc(7), and the same input gives the same pages.
"""
import argparse
import datetime
import os
import re
import sys
import textwrap

# Names that are gone.
WITHOUT_PAGES = {"renamed", "guesses"}
OTHERS = r"asyncio|Python|Go|trio|aiohttp|tokio|C\+\+|pthreads|janus|socat|subprocess|hyper|nghttp2|websockets"
CODE = r"-E[A-Z0-9]{2,}|ASYNC_E[A-Z]+"
# What the headers need for themselves has no page.
PUBLIC = re.compile(r"(?!ASYNC_(?:BEGIN|END|API|PRINTF|CLEANUP|ERRORS|ERROR_ENUM)\b)(?:async|ASYNC)_(?!_)\w+")


# ---- reading a header ----


class Comment:
    """The text of a comment: paragraphs of lines; and `title` for one that begins a section."""

    def __init__(self, lines):
        text = "\n".join(lines)
        text = re.sub(r"^/\*+ ?|\s*\*/\s*$", "", text)
        lines = [re.sub(r"^ \* ?", "", line).rstrip() for line in text.split("\n")]
        self.title = None
        match = re.match(r"---- (.*?) ----$", lines[0])
        if match:
            self.title = match.group(1)
            lines = lines[1:]
        self.lines = lines
        self.text = "\n".join(lines).strip("\n")


class Declaration:
    """One declaration, its public names, and what kind it is: function, macro, type."""

    def __init__(self, text, after_blank):
        self.text = text
        self.after_blank = after_blank
        self.kind, self.names = self.classify(text)

    @staticmethod
    def classify(text):
        macro = re.match(r"#\s*define\s+(\w+)", text)
        if macro:
            return "macro", [macro.group(1)]
        flat = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
        flat = re.sub(r"\s+", " ", flat).strip()
        if re.match(r"(struct|enum) \w+;$", flat):
            return "forward", []
        if flat.startswith("typedef"):
            called = re.match(r"typedef [^{(]*?\b(\w+)\(", flat) or re.match(r"typedef .*?\(\*(\w+)\)", flat)
            name = called.group(1) if called and "{" not in flat else re.search(r"(\w+);$", flat).group(1)
            return "type", [name]
        tagged = re.match(r"(?:struct|enum) (\w+)? ?\{", flat)
        if tagged:
            return "type", [tagged.group(1)] if tagged.group(1) else []
        function = re.search(r"\b(async_\w+)\(", flat)
        return ("function", [function.group(1)]) if function else ("other", [])

    def public(self):
        return [name for name in self.names if PUBLIC.fullmatch(name)]


def lines_for_c(text):
    """The lines that a C compiler sees: without the C++ halves and without the conditions themselves."""
    stack, kept, inside_comment = [], [], False
    for line in text.split("\n"):
        if not inside_comment:
            if re.match(r"#\s*if", line):
                stack.append(not re.match(r"#\s*ifdef __cplusplus|#\s*if defined\(?__cplusplus", line))
                continue
            if re.match(r"#\s*else", line):
                # The first branch of `#ifndef __cplusplus`, or the second of `#ifdef __cplusplus`.
                stack[-1] = not stack[-1]
                continue
            if re.match(r"#\s*endif", line):
                stack.pop()
                continue
        if all(stack):
            kept.append(line)
            inside_comment = ("/*" in line or inside_comment) and "*/" not in line.rsplit("/*", 1)[-1]
    return kept


def read(path):
    """The comments and declarations of a header, in order."""
    items, lines, i, blank = [], lines_for_c(open(path, encoding="utf-8").read()), 0, False
    while i < len(lines):
        line = lines[i]
        if not line.strip():
            blank = True
            i += 1
            continue
        if line.startswith("/*"):
            start = i
            while "*/" not in lines[i]:
                i += 1
            items.append(Comment(lines[start : i + 1]))
            i += 1
            blank = False
            continue
        start, i = i, end_of_declaration(lines, i)
        text = "\n".join(lines[start:i])
        if not re.match(r"#\s*(include|undef|pragma)|ASYNC_(BEGIN|END)\b|#\s*define CASYNCIO_\w+_H", text):
            items.append(Declaration(text, blank))
        blank = False
    return items


def end_of_declaration(lines, i):
    if lines[i].startswith("#"):
        while lines[i].endswith("\\"):
            i += 1
        return i + 1
    if re.match(r"ASYNC_(BEGIN|END)\b", lines[i]):
        return i + 1
    depth, is_type = 0, re.match(r"(typedef|struct|enum)\b(?!.*\()", lines[i])
    while True:
        code = re.sub(r"/\*.*?(\*/|$)|^ *\*.*", "", lines[i])
        depth += code.count("{") - code.count("}")
        i += 1
        if depth == 0 and (code.rstrip().endswith(";") or (code.rstrip().endswith("}") and not is_type)):
            return i


# ---- pages ----


OPAQUE = re.compile(r"typedef struct (\w+) (\w+);$")


class Page:
    def __init__(self, header, section):
        self.header, self.section = header, section
        self.parts = []  # (Comment, [Declaration])

    def declarations(self):
        return [declaration for _, declarations in self.parts for declaration in declarations]

    def names(self, aliases):
        """All public names, the page's own first."""
        order = {"function": 0, "macro": 0, "type": 1}
        found = []
        for declaration in sorted(self.declarations(), key=lambda each: order.get(each.kind, 2)):
            for name in declaration.public():
                for each in (aliases.get(name), name):
                    if each and each not in found:
                        found.append(each)
        found.sort(key=lambda name: name.startswith("ASYNC_"))
        return found


# What stands before the description of a macro: "async_with_lock (&lock) { ... }: ".
HEAD_NAMES = r"^(async_\w+(?: ?\([^:]*?\))?(?: \{ \.\.\. \})?(?:,| and)?\s?)+(?::\s|(?<=\})\s|(?<=\}\n))"


def joins(comment):
    """Whether the comment makes no sense without the one before it."""
    text = re.sub(HEAD_NAMES, "", comment.text)
    return re.match(r"(the same|The same|As above|For (tasks|threads): (the same|as)|asyncio: |Whether it has ended with)", text) or re.search(
        r"\b(as|codes|of those) above\b", text)


def pages_of(name, items):
    """The header's first comment, its pages, and the lower-case names of its block macros."""
    aliases, pages, section, comment, waiting, notes, functions = {}, [], "", None, [], [], set()
    for item in items:
        if isinstance(item, Declaration) and item.kind == "macro":
            match = re.match(r"#\s*define (async_\w+)\([^)]*\)\s+(ASYNC_(?!_)\w+)\([^)]*\)$", item.text)
            if match:
                aliases[match.group(2)] = match.group(1)
                item.names = []
    declared = [item for item in items if isinstance(item, Declaration)]
    defined = {item.names[0] for item in declared if item.names and re.match(r"struct \w+ \{", item.text)}
    opaque = [item for item in declared
              if item.after_blank and OPAQUE.match(item.text) and item.names[0] not in defined]
    head, items = items[0], [item for item in items[1:] if item not in opaque]
    for item in items:
        if isinstance(item, Comment):
            comment = item
            if item.title is not None:
                section, waiting = item.title, []
                if item.text:
                    notes.append(item)
                continue
            page = pages[-1] if pages and pages[-1].section == section and joins(item) else None
            if page is None:
                page = Page(name, section)
                pages.append(page)
            page.parts.append((item, waiting))
            waiting = []
            continue
        if not item.public() and not (item.kind == "type" and "ASYNC_" in item.text):
            continue
        if item.kind == "macro" and item.public()[0] in functions:
            continue  # the same for C, by a macro
        functions.update(item.public() if item.kind == "function" else [])
        loose = item.after_blank and (item.kind == "type" or re.search(r"_INIT\b", item.names[0] if item.names else ""))
        if comment is None or comment.title is not None or loose or (waiting and item.kind != "function"):
            waiting.append(item)
        else:
            pages[-1].parts[-1][1].extend(waiting + [item])
            waiting = []
    if waiting and pages:
        pages[-1].parts[-1][1].extend(waiting)
    pages = [page for page in pages if page.names(aliases)]
    settle_options(pages)
    return head, pages, aliases, notes, opaque


def settle_options(pages):
    """Moves a struct that has no comment of its own to the first page with a function that takes it."""
    for page in pages:
        comment, declarations = page.parts[0]
        for declaration in list(declarations):
            if declaration.kind != "type" or not declaration.after_blank or not declaration.public():
                continue
            name = declaration.public()[0]
            users = [(other, part) for other in pages for part in other.parts for each in part[1]
                     if each.kind == "function" and re.search(rf"\b{name}\b", each.text)]
            if users and all(other is not page for other, _ in users):
                declarations.remove(declaration)
                users[0][1][1].insert(0, declaration)


# ---- mdoc ----


def escape(text):
    return text.replace("\\", "\\e")


def paragraph_text(text):
    """Prose of a comment: names bold, `code` in italics, hyphens of codes and options as they are."""
    text = escape(text)
    text = re.sub(r"`([^`\n]+)`", r"\\fI\1\\fP", text)
    text = re.sub(r"(?<![\w-])-(?=[A-Z0-9a-z])", r"\\-", text)
    text = re.sub(r"(?<![\w<./\"])((?:async|ASYNC)_(?!_)\w+)", lambda m: name_text(m.group(1), text[m.end() :]), text)
    # A sentence begins a line: so formatters know where to put more space.
    sentences = re.split(r"(?<=[^.][.!?]) |(?<=[.!?]\)) ", re.sub(r"\s+", " ", text).strip())
    lines = [line for each in sentences for line in textwrap.wrap(each, 78, break_long_words=False, break_on_hyphens=False)]
    return "\n".join(guard(line) for line in lines)


def name_text(name, rest):
    elsewhere = name in known and known[name] != current[0] and not re.match(r"[.]\w", rest)
    return f"\\fB{name}\\fP" + ("(3)" if elsewhere else "")


def guard(line):
    return "\\&" + line if line[:1] in (".", "'") else line


known = {}  # a name -> the name of its page
libraries = {}  # a header -> what its library is called after "libcasyncio-", or None
in_casyncio_h = set()
current = [""]  # the page that is being written


def body(text):
    """The paragraphs, lists and code of a comment."""
    out = []
    for paragraph in re.split(r"\n\s*\n", text):
        if not paragraph.strip():
            continue
        out += paragraph_lines(paragraph.strip("\n").split("\n"), bool(out))
    return out


def paragraph_lines(lines, between):
    """One paragraph; its lines that are indented by four are code, by two and a hyphen items of a list."""
    out = [".Pp"] if between else []
    i = 0
    while i < len(lines):
        line = lines[i]
        if re.match(r"\s+- ", line):
            if out == [".Pp"]:
                out = []
            out.append(".Bl -bullet")
            while i < len(lines) and lines[i].startswith("  "):
                words = [re.sub(r"\s+- ", "", lines[i], count=1)]
                i += 1
                while i < len(lines) and lines[i].startswith("  ") and not re.match(r"\s+- ", lines[i]):
                    words.append(lines[i].strip())
                    i += 1
                out += [".It", paragraph_text(" ".join(words))]
            out.append(".El")
        elif re.match(r" {2,}(ASYNC_E|-E|    )", line) or line.startswith("    "):
            if out == [".Pp"]:
                out = []
            out.append(".Bd -literal -offset indent")
            while i < len(lines) and lines[i].startswith("  "):
                out.append(guard(escape(re.sub(r"^ {1,4}", "", lines[i]))))
                i += 1
            out.append(".Ed")
        else:
            start = i
            while i < len(lines) and not lines[i].startswith("  "):
                i += 1
            out.append(paragraph_text(" ".join(lines[start:i])))
    return out


def split_others(text):
    """The comment without what other libraries call this, and that."""
    match = re.search(rf"(?:(?<=\. )|(?<=\.\n)|(?<=\n)|^)((?:{OTHERS}): .*)\Z", text, flags=re.S)
    if not match or "\n\n" in match.group(1) or len(match.group(1)) > 400:
        return text, []
    others = re.sub(r"\s+", " ", match.group(1)).strip()
    return text[: match.start()].rstrip(), re.split(rf"[;,.] (?=(?:{OTHERS}): )", others)


def clauses(text):
    """[(code, words)]: what the comment says of each error code that it names, in its order."""
    text = re.sub(r"\n\s*\n", ". ", text)
    text = re.sub(r"\s+", " ", text)
    found = []
    for clause in re.split(r"; (?![^()]*\))|(?<!\.\.)\. (?=[A-Z`*-]|$)|\.$", text):
        codes, whole = list(re.finditer(CODE, clause)), False
        for at, code in enumerate(codes):
            end = codes[at + 1].start() if at + 1 < len(codes) else len(clause)
            before, words = clause[: code.start()], clause[code.end() : end]
            if whole or depth(before) > 0 or re.search(r"\b(is|are|gives?|get|gets|of|than|then|with|result|a code of|its) \(?$", before):
                words, whole = clause.strip(), True
            words = re.sub(r"^\s*[,:]?\s*(or|and)?\s*|[\s,;:(]*(,? (or|and|also))?[\s,;:(]*$", "", words)
            words = close_brackets(words)
            if not re.search(r"\w\w", words) or words in ("or", "and"):
                words = ""
            if (code.group(), words) not in found:
                found.append((code.group(), words))
    return found


def merged(errors):
    """[([code, ...], [words, ...])]: what is said of one code in one item, and of several the same in one too."""
    by_code, items = {}, []
    for code, words in errors:
        said = by_code.setdefault(code, [])
        if words and words not in said:
            said.append(words)
    for code, words in by_code.items():
        if items and words and items[-1][1] == words:
            items[-1][0].append(code)
        else:
            items.append(([code], words or [""]))
    return items


def depth(text):
    return text.count("(") - text.count(")")


def close_brackets(words):
    if depth(words) > 0:
        words += ")"
    if depth(words) < 0:
        words = words[: words.rindex(")")] if words.endswith(")") else words.replace(")", "", 1)
    words = re.sub(r"^\.\.\. |,? \.\.\.$", "", words.strip())
    return words[1:-1] if re.fullmatch(r"\([^()]*\)", words) else words


def code_text(code, words, texts):
    name = code.lstrip("-")
    if not words:
        words = texts.get(name) or os.strerror(getattr(__import__("errno"), name, 0))
    words = words[0].upper() + words[1:] if not re.match(r"(async|ASYNC)_", words) else words
    return paragraph_text(words + ("" if words.endswith(".") else "."))


RETURNS = [
    (r"int|ssize_t|int64_t", "A number that is 0 or more is a success.\nA negative one is a code of\n.Xr casyncio-errors 7 ,\n"
     "and\n.Xr async_error_message 3\nsays what was wrong."),
    (r"\w[\w ]* ?\*+", "A pointer; or\n.Dv NULL ,\nand then\n.Xr async_error_code 3\nis the code, and\n"
     ".Xr async_error_message 3\nsays what was wrong."),
]


def returned(page, text):
    """The generic paragraph for what the functions of a page return, by their types, and what each gives for NULL."""
    types = []
    for declaration in page.declarations():
        if declaration.kind == "function" and declaration.public():
            kind = prototype(declaration)[0].replace("const ", "")
            if kind not in types:
                types.append(kind)
    out, fails = [], bool(re.search(rf"{CODE}|code of a cancellation|a code\b|NULL:", text))
    for pattern, words in RETURNS:
        if any(re.fullmatch(pattern, kind) for kind in types):
            if fails:
                out += ([".Pp"] if out else []) + words.split("\n")
    return out


def prototype(declaration):
    """(type, name, [arguments]) of a function."""
    text = re.sub(r"/\*.*?\*/", " ", declaration.text, flags=re.S)
    text = re.sub(r"\{.*\Z", "", text, flags=re.S)
    text = re.sub(r"ASYNC_API|ASYNC_PRINTF\([^)]*\)|ASYNC__NULL|static inline|__attribute__\(\(.*?\)\)|;", " ", text)
    text = re.sub(r"\s+", " ", text).strip()
    match = re.match(r"(.*?)\b(async_\w+)\((.*)\)$", text)
    arguments, start, nested = [], 0, 0
    for at, character in enumerate(match.group(3) + ","):
        nested += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and nested == 0:
            arguments.append(match.group(3)[start:at].strip())
            start = at + 1
    return match.group(1).strip(), match.group(2), arguments


def synopsis(page, aliases):
    out, functions = [], set()
    for declaration in page.declarations():
        if declaration.kind == "function":
            functions.update(declaration.public())
    for declaration in page.declarations():
        if declaration.kind == "function" and declaration.public():
            kind, name, arguments = prototype(declaration)
            out += [f'.Ft "{kind}"', f".Fo {name}"]
            out += ['.Fa "{}"'.format(escape(argument).replace('"', "\\(dq")) for argument in arguments]
            out.append(".Fc")
        elif declaration.kind == "macro" and declaration.public()[0] not in functions:
            name = declaration.public()[0]
            arguments = re.match(rf"#\s*define {name}(\([^)]*\))?", declaration.text).group(1) or ""
            if name in aliases:
                shown = f"{aliases[name]} {arguments} {{ ... }}"
            else:
                shown = name + arguments
            out += [".Bd -literal -compact", shown, ".Ed"]
            out.append(".Pp")
        elif declaration.kind == "type":
            out += [".Bd -literal"] + [guard(escape(line)) for line in declaration.text.split("\n")] + [".Ed", ".Pp"]
    if out and out[0].startswith(".Bd -literal -compact"):
        out.insert(0, ".Pp")
    while out and out[-1] == ".Pp":
        out.pop()
    return [line for at, line in enumerate(out) if not (line == ".Pp" and out[at + 1] == ".Bd -literal")]


def one_line(page, names):
    """What NAME says after the dash."""
    text, others = split_others(page.parts[0][0].text)
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(HEAD_NAMES, "", text)
    if not text and others:
        text = re.sub(r"^(\w+): (.*)$", r"as \1's \2", others[0])
    first = re.split(r"(?<!\.\.)[.](?: |$)|: (?!:)|; ", text)[0]
    if depth(first) > 0:
        first = first[: first.rindex("(")]
    while len(first) > 80 and re.search(r", | \(", first):
        first = re.match(r"(.*)(, | \()", first).group(1)
        if depth(first) > 0:
            first = first[: first.rindex("(")]
    first = first.rstrip(" ,;:")
    if not re.match(r"[A-Z]{2}|SIG", first):
        first = first[:1].lower() + first[1:]
    return first or names[0]


def oneline_text(page, names):
    return paragraph_text(one_line(page, names)).replace("\n", " ")


def see_also(page, pages, aliases, text):
    own = set(page.names(aliases))
    three = {f"casyncio_{page.header}"}
    for name in re.findall(r"(?<![\w])(?:async|ASYNC)_(?!_)\w+", text):
        if name in known and known[name] not in own:
            three.add(known[name])
    near = [other for other in pages if other.section == page.section and other is not page]
    at = pages.index(page)
    near.sort(key=lambda other: abs(pages.index(other) - at))
    for other in near[:6]:
        three.add(known[other.names(aliases)[0]])
    seven = {"casyncio"}
    if re.search(CODE, text):
        seven.add("casyncio-errors")
    if re.search(r"cancell|-ECANCELED|-ETIMEDOUT", text):
        seven.add("casyncio-cancellation")
    return sorted(three - own, key=lambda name: (name.lower(), name)), sorted(seven)


def references(three, seven):
    all_of_them = [f".Xr {name} 3" for name in three] + [f".Xr {name} 7" for name in seven]
    return [line + " ," for line in all_of_them[:-1]] + all_of_them[-1:]


def head(title, section, options):
    return [f".Dd {options.date}", f".Dt {title} {section}", f".Os casyncio {options.version}"]


def library(header):
    """The library that the header's first comment names in brackets, or libcasyncio."""
    name = "casyncio" + (f"-{libraries[header]}" if libraries[header] else "")
    return [".Sh LIBRARY", f"lib{name} (\\fB\\-l{name}\\fP; pkg-config {name})"]


def includes(header):
    return [".In casyncio.h" if header in in_casyncio_h else f".In casyncio/{header}.h"]


def write_page(page, pages, aliases, texts, options):
    names = page.names(aliases)
    out = head(names[0].upper(), 3, options)
    current[0] = names[0]
    shown_names = [name for name in names if name not in aliases]
    out += [".Sh NAME"] + [f".Nm {name} ," for name in shown_names[:-1]] + [f".Nm {shown_names[-1]}"]
    out += [f".Nd {oneline_text(page, names)}"]
    out += library(page.header)
    out += [".Sh SYNOPSIS"] + includes(page.header) + synopsis(page, aliases)
    out += [".Sh DESCRIPTION"]
    errors, others_all, whole = [], [], ""
    for at, (comment, declarations) in enumerate(page.parts):
        text, others = split_others(comment.text)
        whole += comment.text + "\n\n"
        shown = Page(page.header, "")
        shown.parts = [(comment, declarations)]
        if len(page.parts) > 1:
            labels = [name for name in shown.names(aliases) if name not in aliases]
            if labels:
                out.append(f".Ss {', '.join(labels)}")
        lines = body(text)
        if not lines and others:
            lines = [paragraph_text(re.sub(r"^(\w+): (.*)$", r"As \1's \2.", others[0]))]
        out += lines
        errors += [each for each in clauses(text) if each not in errors]
        others_all += [each for each in others if each not in others_all]
    value = returned(page, whole)
    if value:
        out += [".Sh RETURN VALUES"] + value
    if errors or "code of a cancellation" in whole:
        out += [".Sh ERRORS", ".Bl -tag -width Ds"]
        for codes, words in merged(errors):
            out.append(".It " + ", ".join(f"\\fB{code.replace('-', chr(92) + '-')}\\fP" for code in codes))
            out += [code_text(codes[0], each, texts) for each in words]
        if "code of a cancellation" in whole:
            out += [".It \\fB\\-ECANCELED\\fP, \\fB\\-ETIMEDOUT\\fP",
                    "The code of a cancellation: the task was cancelled,",
                    "or the time of a scope that it is in has run out."]
        out.append(".El")
    three, seven = see_also(page, pages, aliases, whole)
    out += [".Sh SEE ALSO"] + references(three, seven)
    if others_all:
        out += [".Sh IN OTHER LIBRARIES"]
        for at, other in enumerate(others_all):
            out += ([".br"] if at else []) + [paragraph_text(other)]
    write(options, names[0], out)
    for name in names[1:]:
        write(options, name, [f".so man3/{names[0]}.3"])


def write_header_page(name, comment, pages, aliases, notes, opaque, options):
    title = current[0] = f"casyncio_{name}"
    text = comment.text
    first, _, rest = text.partition("\n")
    about = re.sub(r"^\w+\.h - ", "", first)
    if not re.match(r"\s*\n|\s*$", rest) and rest:  # the first sentence goes on in the next line
        more, _, rest = rest.partition("\n\n")
        about += " " + more
    about = re.sub(r"\s+", " ", about)
    about, _, others = about.partition("asyncio: ") if "asyncio: " in about else re.split(
        rf"\(?\b(?:{OTHERS}): |\(asyncio ", about + " \0")[0:1] + ["", ""]
    about = about.replace("\0", "").strip(" (")
    out = head(title.upper(), 3, options)
    out += [".Sh NAME", f".Nm {title}", ".Nd " + paragraph_text(about.rstrip(".")).replace("\n", " ")]
    out += library(name) + [".Sh SYNOPSIS"] + includes(name)
    if name in in_casyncio_h:
        out += [f".In casyncio/{name}.h"]
    if opaque:
        out += [".Bd -literal"] + [item.text for item in opaque] + [".Ed"]
    out += [".Sh DESCRIPTION"]
    out += body(rest) or [paragraph_text(f"The functions of <casyncio/{name}.h>.")]
    for note in notes:
        out += [f".Ss {note.title[0].upper() + note.title[1:]}"] + body(note.text)
    out += [".Sh LIST OF PAGES", ".Bl -tag -width Ds"]
    for page in pages:
        names = page.names(aliases)
        out += [f".It Xr {names[0]} 3", oneline_text(page, names) + "."]
    out += [".El", ".Sh SEE ALSO"] + references([], ["casyncio", "casyncio-errors"])
    write(options, title, out)
    for item in opaque:
        write(options, item.names[0], [f".so man3/{title}.3"])


def write(options, name, lines):
    with open(os.path.join(options.output, name + ".3"), "w", encoding="utf-8") as file:
        file.write("\n".join(line for line in lines if line != "") + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", required=True)
    parser.add_argument("--date", default="1970-01-01")
    parser.add_argument("--version", default="")
    parser.add_argument("headers", nargs="+")
    options = parser.parse_args()
    options.date = datetime.date.fromisoformat(options.date).strftime("%B %-d, %Y")
    os.makedirs(options.output, exist_ok=True)
    for old in os.listdir(options.output):
        if old.endswith(".3"):
            os.unlink(os.path.join(options.output, old))

    headers, texts = [], {}
    whole = os.path.join(os.path.dirname(options.headers[0]), os.pardir, "casyncio.h")
    in_casyncio_h.update(re.findall(r"#include <casyncio/(\w+)\.h>", open(whole, encoding="utf-8").read()), {"base"})
    for path in options.headers:
        name = os.path.splitext(os.path.basename(path))[0]
        if name in WITHOUT_PAGES:
            continue
        items = read(path)
        headers.append((name, *pages_of(name, items)))
        named = re.search(r"\(libcasyncio-(\w+)\)", items[0].text)
        libraries[name] = named.group(1) if named else None
        if name == "errors":
            texts.update(re.findall(r'X\((ASYNC_E\w+), -?\d+, "([^"]*)"\)', open(path, encoding="utf-8").read()))
    for name, _, pages, aliases, _, opaque in headers:
        for item in opaque:
            known[item.names[0]] = f"casyncio_{name}"
        for page in pages:
            names = page.names(aliases)
            for name in names:
                if name in known and known[name] != names[0]:
                    sys.exit(f"man_pages.py: {name} has two pages: {known[name]} and {names[0]}")
                known[name] = names[0]
    for name, comment, pages, aliases, notes, opaque in headers:
        for page in pages:
            write_page(page, pages, aliases, texts, options)
        write_header_page(name, comment, pages, aliases, notes, opaque, options)


if __name__ == "__main__":
    main()
