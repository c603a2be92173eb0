"""Pull, push and all that reads images: the only place where workspace, store, archive and core meet.

The path of a push (design, "Push"), from `agent.cli.push` on; each step hands its result to the next:

1. `push_steps.push_directory` opens the directory (`local`) and the target (`remote`).
2. Scan: `directory_scan.scan_directory` joins the files on disk with the state.
3. Diff: `agent.core.directory.scan_diff` makes entries of the differences. If there are none, the push ends.
4. Pack: `push_steps.publish_change` orders the entries by `agent.core.layers.whiteouts`.
5. Upload: `upload.pack_layer` reads, packs and uploads the layer in one pass.
6. Publish: `publish.publish_entry` puts the entry and its pointer.
7. Head: `publish.head` merges the entries into head. Then `local` writes the directory's state.

The path of a pull (design, "Pull"), from `agent.cli.pull` on:

1. `pull_steps.pull_directory` opens the directory (`local`) and the target (`remote`).
2. Scan: `directory_scan.scan_directory` finds local changes, while `remote.target` reads head, pointers and entries.
3. Goal: `pull_steps.pull_goal` says which changes the directory shall hold. If it holds them, the pull ends.
4. Merge: `contents.change_layers` reads the tables of contents and merges them (`agent.core.merge`).
5. Plan: `agent.core.directory.pull_plan` compares the merge with the disk.
6. Apply: `apply.overwrite_check` refuses to lose work; `apply.apply_plan` fetches contents (`contents.layer_contents`)
   and writes them. Then `local` writes the directory's state.

Packages, the lowest first: `operation`, `contents`, `remote` and `local`, `directory_scan`, `upload`, `publish` and
`apply`, `push_steps`, `pull_steps` and `task`, `commands`.
"""
