"""Probes of a target's store, and their meaning for the guarantees (design, "Protocol")."""

from __future__ import annotations

import os
import threading
from collections import Counter
from dataclasses import replace
from hashlib import sha512
from typing import NoReturn

from agent.archive.layer.writer import LayerWriter
from agent.archive.stream.compression import media_type_of
from agent.core.image.manifest import CONFIG, MANIFEST
from agent.core.spelling.canonical import canonical
from agent.core.spelling.digest import Digest, digest_of
from agent.core.spelling.reference import LayoutReference
from agent.core.spelling.tags import derived_prefix
from agent.errors import AgentError, AuthError, TagRefusedError, UnavailableError
from agent.store.port import Ability, Probing, Store
from agent.sync.commands.doctor_report import DoctorReport, Verdict
from agent.sync.operation.report import since
from agent.sync.operation.workspace_context import WorkspaceContext

READS = 36
MOVES = 12
LARGE = 1 << 20
SKEW_MS = 5_000


def doctor(context: WorkspaceContext, wait: float) -> DoctorReport:
    """Probe the target's store, and clean up.

    Args:
        wait: seconds to wait at most for the list of tags to show a tag.

    Raises:
        AuthError, UnavailableError: it cannot even be read.
    """
    store = context.store
    began = replace(store.traffic)
    report = DoctorReport(str(context.target))
    there = store.get_manifest(context.target.tag or "latest")
    report.add("read", "ok", "a workspace or image is there" if there else "nothing is there yet", "pulls work")
    if isinstance(context.target, LayoutReference) and not os.path.exists(context.target.path):
        report.add("write", "unknown", "there is no layout yet", "the first push makes it; nothing was written to try")
        return report
    try:
        _Examination(context, store, report).run(wait)
    except AuthError as error:
        report.exit_code = error.exit_code
        report.add("push", "missing", error.what, "these credentials can pull, not push")
    except UnavailableError as error:
        report.exit_code = error.exit_code
        report.add("push", "missing", f"{error.subject}: {error.what}", "pushes fail")
    report.traffic = since(store.traffic, began)
    return report


class _Examination:
    """One run of all checks, under a tag of its own."""

    def __init__(self, context: WorkspaceContext, store: Store, report: DoctorReport) -> None:
        self._context = context
        self._store = store
        self._report = report
        self._tag = f"{derived_prefix(context.target.tag or 'latest')}doctor-{context.clock():x}"
        self._made: list[Digest] = []
        self._blobs = 0

    def run(self, wait: float) -> None:
        try:
            self._uploads()
            first = self._put(0)
            self._tags_and_lists(first, wait)
            self._moves()
            self._layers()
            self._sizes()
            self._rest(first)
        finally:
            self._clean_up()

    def _uploads(self) -> None:
        data = sha512(self._tag.encode()).digest()
        stored = self._store.upload(lambda: iter((data,)))
        self._blobs += 1
        self._layer, self._config = stored.digest, self._store.put_blob(b"{}")
        self._plain = _described(stored.digest, stored.size, media_type_of("none"))
        self._report.add("push", "ok", "a blob was stored", "pushes work")
        self._try("stream", "streamed upload", "a layer goes up in one request", "layers go up in pieces of 4 MiB")
        self._try("whole", "upload in one piece", "configs and small layers take two requests", "small pushes fail")
        self._try(
            "resume",
            "resumed upload",
            "not needed: what breaks is sent anew",
            "an upload that breaks is sent anew from its start",
        )

    def _put(self, number: int, padding: int = 0, layer: dict[str, object] | None = None) -> Digest:
        """Store an image at the tag, or with its own `layer` at its digest, where no rule for tags applies."""
        manifest = canonical(
            {
                "annotations": {"dev.instep.doctor": f"{self._tag} {number}", "padding": "x" * padding},
                "config": _described(self._config, 2, CONFIG),
                "layers": [layer or self._plain],
                "mediaType": MANIFEST,
                "schemaVersion": 2,
            }
        )
        digest = digest_of(manifest)
        if digest not in self._made:
            self._made.append(digest)
        return self._store.put_manifest(self._tag if layer is None else digest, manifest, MANIFEST)

    def _tags_and_lists(self, first: Digest, wait: float) -> None:
        read = self._store.get_manifest(self._tag)
        if read is not None and read.digest == first:
            self._report.add("read after push", "ok", "a tag is there at once", "--after LANE finds what was pushed")
        else:
            self._report.add(
                "read after push",
                "weak",
                "a tag that was just written is not there at once",
                "--after LANE finds what was pushed: a push waits until its own is shown",
            )
        waited, step = 0.0, 0.1
        while not (listed := self._tag in self._store.tags(derived_prefix(self._context.target.tag or "latest"))):
            if waited >= wait:
                break
            self._context.sleep(step)
            waited, step = waited + step, min(2 * step, 2.0)
        if not listed:
            found, means = f"a new tag is not in it after {waited:.0f} s", "name lanes with --after in every pull"
            self._report.add("list of tags", "missing", found, f"changes that head lacks are not found: {means}")
        elif waited:
            found = f"a new tag is in it after about {waited:.1f} s"
            means = "a pull without --after may miss what was pushed so shortly before; prune waits longer than that"
            self._report.add("list of tags", "weak", found, means)
        else:
            self._report.add("list of tags", "ok", "a new tag is in it at once", "every pull finds every change")

    def _moves(self) -> None:
        """Move the tag, and read it meanwhile without retries."""
        try:
            second = self._put(1)
        except TagRefusedError as error:
            self._report.add(
                "moving a tag",
                "weak",
                error.what,
                "head stays as the first push made it; pulls merge all the same, other tools see the old image",
            )
            return
        read = self._store.get_manifest(self._tag)
        at_once = read is not None and read.digest == second
        self._report.add(
            "moving a tag",
            "ok" if at_once else "weak",
            "the new image is there at once" if at_once else "the old image is seen for a while",
            "head follows" if at_once else "head may be moved more often than needed; nothing is lost",
        )
        answers = self._watched()
        odd = {status: count for status, count in answers.items() if status != 200}
        if odd:
            shown = ", ".join(f"{status} ({count} of {answers.total()} looks)" for status, count in sorted(odd.items()))
            found = f"answers with {shown}"
            self._report.add("a tag while it moves", "weak", found, "such answers are not believed, but asked again")
        elif answers:
            found = f"{answers.total()} looks, all answered"
            self._report.add("a tag while it moves", "ok", found, "readers never see a gap")
        else:
            self._report.add("a tag while it moves", "ok", "by rename", "readers never see a gap")

    def _watched(self) -> Counter[int]:
        answers: Counter[int] = Counter()
        store = self._store
        if not isinstance(store, Probing):
            return answers
        failures: list[AgentError] = []

        def move() -> None:
            try:
                for number in range(MOVES):
                    self._put(number % 2)
            except AgentError as error:
                failures.append(error)

        mover = threading.Thread(target=move)
        mover.start()
        try:
            while mover.is_alive() or answers.total() < READS:
                answers[store.probe("tag", self._tag).number] += 1
        finally:
            mover.join()
        if failures:
            raise failures[0]
        return answers

    def _layers(self) -> None:
        """Put an image with a layer of the default compression."""
        data = b"".join(LayerWriter((), [], _no_content, "zstd"))
        layer = _described(self._store.put_blob(data, new=True), len(data), media_type_of("zstd"))
        self._blobs += 1
        try:
            self._put(3, layer=layer)
        except (AuthError, UnavailableError) as error:
            self._report.add("layers of zstd", "weak", error.what, "push with --compression gzip")
        else:
            self._report.add("layers of zstd", "ok", "they are taken", "pushes work as they are")

    def _sizes(self) -> None:
        try:
            self._put(2, LARGE)
        except UnavailableError as error:
            means = "a workspace of very many changes cannot be pushed until it is squashed"
            self._report.add("large manifest", "weak", error.what, means)
        else:
            self._report.add("large manifest", "ok", "1 MiB is taken", "enough for 100 layers; many stop at 4 MiB")

    def _rest(self, manifest: Digest) -> None:
        self._try("range", "parts of a blob", "pulls fetch what they need", "pulls fetch whole layers", self._layer)
        self._try(
            "mount",
            "mounted blob",
            "layers of a base in the same registry are not sent",
            "layers of a base are copied through this machine, once",
            self._layer,
        )
        self._try("referrers", "referrers", "not needed", "not needed", manifest, weak="ok")
        self._try("pages", "list by pages", "long lists come in parts", "lists come whole", weak="ok")
        store = self._store
        if isinstance(store, Probing):
            works, ahead = store.probe("clock", "")
            if not works:
                self._report.add("clock", "unknown", "it does not say what time it has", "not needed")
            elif abs(ahead) > SKEW_MS:
                found = f"{abs(ahead) / 1000:.0f} s {'ahead of' if ahead > 0 else 'behind'} this machine"
                means = "if this machine is wrong, it wins or loses against parallel writers, no more than that"
                self._report.add("clock", "weak", found, means)
            else:
                self._report.add("clock", "ok", "as this machine's", "the later of two parallel writers wins")

    def _try(
        self, ability: Ability, name: str, good: str, bad: str, reference: str = "", weak: Verdict = "weak"
    ) -> None:
        store = self._store
        if not isinstance(store, Probing):
            if ability in ("range", "stream"):
                self._report.add(name, "ok", "by construction", good)
            return
        try:
            works = store.probe(ability, reference).works
        except (AuthError, UnavailableError):
            works = False
        if ability in ("stream", "whole", "resume") and works:
            self._blobs += 1
        verdict: Verdict = "ok" if works or ability == "resume" else weak
        self._report.add(name, verdict, "offered" if works else "not offered", good if works else bad)

    def _clean_up(self) -> None:
        """Delete the manifests, by digest, with all their tags; blobs go when the registry collects garbage."""
        if not self._made:
            return
        try:
            deleted = [self._store.delete_manifest(digest, (self._tag,)) for digest in self._made]
        except AgentError as error:
            means = f"agent prune deletes nothing and ends with exit code {error.exit_code}: {error.remedy}"
            self._report.add("deleting", "weak", error.what, means)
            self._report.left.append(f"the tag {self._tag}")
        else:
            by_tag = any(each.by_tag for each in deleted)
            found = "the images that were made for this are gone" + (", tag by tag" if by_tag else "")
            self._report.add("deleting", "ok", found, "agent prune works")
        self._report.left.append(f"{self._blobs + 1} blobs of less than 1 KiB, until garbage is collected")


def _described(digest: Digest, size: int, media_type: str) -> dict[str, object]:
    return {"digest": digest, "mediaType": media_type, "size": size}


def _no_content(entry: object) -> NoReturn:
    raise AssertionError("an empty layer has no files")
