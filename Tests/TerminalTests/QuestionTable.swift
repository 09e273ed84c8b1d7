// The 26 questions with their keys, and what must stand on the screen: from the genuine tools, the host's file
// system and the bytes of the image.

import Foundation
import TestSupport

enum QuestionTable {
  static let subjects: [String: [Question]] = [
    "size": size, "free space": freeSpace, "snapshots": snapshots, "layers": layers, "content": content,
    "damage": damage,
  ]
  static let all = subjects.values.joined().sorted { $0.number < $1.number }

  private static let cluster = QuestionImages.cluster

  // MARK: Why is it this large?

  private static let size = [
    Question(
      number: 5, words: "`ls` and `du` disagree: which one is the image?", image: .preallocated, keys: ["i"],
      isSmall: true,
      shows: { images in
        let path = try images.path(.preallocated)
        return [
          1: ["file length * \(try length(ofFile: path))", "host blocks * \(try images.blocks(path))"]
        ]
      }),
    Question(
      number: 6, words: "A small file for a huge disk: is that normal?", image: .sparse, keys: ["i"],
      isSmall: true,
      shows: { images in
        let reader = try images.reader(.sparse)
        let data = UInt64(reader.roles.filter { $0 == "#" }.count)
        let tables = UInt64(reader.roles.filter { "HTB12".contains($0) }.count)
        return [
          1: [
            "size 128G \(reader.size)", "disk alone * \(data * cluster)",
            "tables * \(tables * cluster)",
            "file length * \(try length(ofFile: images.path(.sparse)))",
          ]
        ]
      }),
    Question(
      number: 7, words: "What was allocated in advance and never written?", image: .preallocated, keys: ["X"],
      shows: { images in
        let holes = try images.reader(.preallocated).roles.filter { $0 == "o" }.count
        return [1: ["hole \(holes) \((UInt64(holes) * cluster) >> 20)M", "data 0 0"]]
      }),
    Question(
      number: 10, words: "How large must the L2 cache be?", image: .sparse, keys: ["i", "G", "X"],
      shows: { images in
        let reader = try images.reader(.sparse)
        let tables = reader.roles.filter { $0 == "2" }.count
        return [
          1: ["L2 cache * \(reader.size / cluster * 8)"], 2: ["every L2 table of a full disk"],
          3: ["L2 table \(tables) \(tables * 64)K"],
        ]
      }),
  ]

  // MARK: Where is what is free?

  private static let freeSpace = [
    Question(
      number: 1, words: "Where are the holes, what sits at the end, may it be cut there?", image: .discarded,
      keys: ["X", "Tab", "G", "k"], isSmall: true,
      shows: { images in
        let reader = try images.reader(.discarded)
        let last = try lastUsed(reader)
        let run = reader.refcounts.split { $0 > 0 }.map(\.count).max() ?? 0
        let owner = reader.entries.first { $0.value.descriptor & 0xff_ffff_ffff_fe00 == last * cluster }
        return [
          4: [
            "tail \(reader.fileClusters - last - 1) 0", "run 1 \(run)", "last 0x\(hex(last * cluster))",
            "the cluster at 0x\(hex(last * cluster)) is in use, and the last one of the file: "
              + "L2[\(owner?.key ?? 0)]",
          ]
        ]
      }),
    Question(
      number: 4, words: "After a discard the file is as long as before: who takes the place?",
      image: .discarded,
      keys: ["D", "Enter", "X"],
      shows: { images in
        let copy = try images.copy(.discarded)
        let (before, blocks) = (try length(ofFile: copy), try images.blocks(copy))
        try images.io(copy, "discard 0 64k")
        guard try length(ofFile: copy) == before else { throw TestFailure("the file became shorter") }
        // What stat counts has the blocks of the host's own lists in it.
        guard try images.blocks(copy) < blocks else { throw TestFailure("the host got nothing back") }
        let other = try images.copy(.discarded)
        try images.io(other, "discard 0 64k", "write 32M 64k")
        return [
          1: [
            "the file length stays \(before) bytes", "given back to the host: \(cluster / 1024)K",
            "1 cluster freed",
          ],
          3: ["next new 0x\(hex(try images.host(of: 32 << 20, in: other)))"],
        ]
      }),
    Question(
      number: 18, words: "The check is clean: where are the stranded free clusters?", image: .discarded,
      keys: ["/free"],
      shows: { images in
        let refcounts = try images.reader(.discarded).refcounts
        let first = UInt64(refcounts.firstIndex(of: 0) ?? 0) * cluster
        return [
          1: [
            "host 0x\(hex(first, digits: 7)) .. 0x\(hex(first + cluster - 1, digits: 7))",
            "refcount 0 free", "\(refcounts.count) clusters, \(refcounts.filter { $0 == 0 }.count) free",
          ]
        ]
      }),
    Question(
      number: 21, words: "A discard does nothing: is it misaligned?", image: .discarded,
      keys: ["D", "C-u", "4k"],
      shows: { images in
        let copy = try images.copy(.discarded)
        try images.io(copy, "discard 0 4k")
        guard try PlainReader(copy).refcounts == images.reader(.discarded).refcounts else {
          throw TestFailure("the genuine tool frees something")
        }
        return [3: ["0 clusters new, 0 clusters freed", "rounded away: all of it"]]
      }),
    Question(
      number: 26, words: "How full is it on a block device, without a check?", image: .padded, keys: ["X"],
      shows: { images in
        let length = try length(ofFile: images.path(.padded))
        let end = try images.check("padded.qcow2", "image-end-offset")
        guard length > end + 10 << 20 else { throw TestFailure("no tail") }
        return [1: ["last in use 0x\(hex(end - cluster))"]]
      }),
  ]

  private static func lastUsed(_ reader: PlainReader) throws -> UInt64 {
    guard let last = reader.refcounts.lastIndex(where: { $0 > 0 }) else { throw TestFailure("all is free") }
    return UInt64(last)
  }

  // MARK: What do snapshots keep?

  private static let snapshots = [
    Question(
      number: 2, words: "The file is larger than the disk: what is the rest?", image: .snapshots, keys: ["i"],
      isSmall: true,
      shows: { images in
        let reader = try images.reader(.snapshots)
        let data = reader.roles.filter { $0 == "#" }.count
        let tables = reader.roles.count - data - reader.roles.filter { $0 == "." }.count
        let (kept, both) = (reader.snapshotOnly.count, reader.shared.count)
        func row(_ name: String, _ count: Int) -> String { "\(name) * \(UInt64(count) * cluster)" }
        return [
          1: [
            row("disk alone", data - kept - both), row("shared", both), row("snapshots alone", kept),
            row("tables", tables), "file length * \(try length(ofFile: images.path(.snapshots)))",
          ]
        ]
      }),
    Question(
      number: 3, words: "The file is twice its content: is it zeroes written as data?", image: .snapshots,
      keys: [":du"],
      shows: { images in
        let path = try images.path(.snapshots)
        let zeroes = try images.reader(.snapshots).entries.values.filter { entry in
          let host = entry.descriptor & 0xff_ffff_ffff_fe00
          guard host != 0 else { return false }
          return try bytes(ofFile: path, at: host, count: Int(cluster)).allSatisfy { $0 == 0 }
        }
        return [1: ["zeroes as data \((UInt64(zeroes.count) * cluster) >> 20)M"]]
      }),
    Question(
      number: 8, words: "Two tools name two sizes: which is the image's, which the host's?",
      image: .snapshots,
      keys: ["i"], isSmall: true,
      shows: { images in
        let path = try images.path(.snapshots)
        let mapped = try images.map(path).filter(\.isData).reduce(0) { $0 + $1.length }
        return [1: ["mapped * \(mapped)", "host blocks * \(try images.blocks(path))"]]
      }),
    Question(
      number: 19, words: "What comes back if a snapshot is deleted?", image: .snapshots, keys: ["S", "j"],
      isSmall: true,
      shows: { images in
        let copy = try images.copy(.snapshots)
        let before = try PlainReader(copy).refcounts.filter { $0 > 0 }.count
        try images.must("qemu-img", ["snapshot", "-d", "one", copy])
        let freed = try before - PlainReader(copy).refcounts.filter { $0 > 0 }.count
        return [2: ["deleting it gives back \(freed) clusters"]]
      }),
  ]

  // MARK: Which file answers?

  private static let layers = [
    Question(
      number: 20, words: "Which layer answers where, and at which of its bytes?", image: .top,
      keys: [":lens layer", ":g 512k"],
      shows: { images in
        let path = try images.path(.top)
        let letters = try images.clusters(of: path).map { $0.map { Character("\($0)") } ?? "." }
        let at = hex(try images.host(of: 512 << 10, in: path))
        return [1: [row("0000000", letters[..<64])], 2: ["at 0x\(at) of *middle.qcow2"]]
      }),
    Question(
      number: 22, words: "How much does the file below grow by a commit?", image: .top, keys: [":commit ?"],
      shows: { images in
        _ = try images.path(.top)
        let place = images.folder.path("committed")
        try images.must("mkdir", [place])
        try images.must("cp", ["top.qcow2", "middle.qcow2", "base.qcow2", place])
        let before = try length(ofFile: place + "/middle.qcow2")
        try images.must("qemu-img", ["commit", "-q", "top.qcow2"], in: place)
        let grown = try length(ofFile: place + "/middle.qcow2") - before
        return [1: ["the backing file middle.qcow2:", "file +\(grown >> 10)K"]]
      }),
    Question(
      number: 23, words: "The file below is gone: what can still be read?", image: .orphan,
      keys: [":lens layer"],
      shows: { images in
        _ = try images.path(.orphan)
        let letters = images.orphanAnswers.map { $0 ? Character("0") : "?" }
        return [1: [row("0000000", letters[..<64]), row("0800000", letters[128..<192])]]
      }),
    Question(
      number: 24, words: "Why is old data back: was it a discard or zeroes?", image: .old,
      keys: ["D", "Esc", "z"],
      shows: { images in
        let discarded = try images.copy(.old)
        try images.io(discarded, "discard 0 64k", "read -P 9 0 64k")
        let zeroed = try images.copy(.old)
        try images.io(zeroed, "write -z 0 64k", "read -P 0 0 64k")
        return [
          1: ["0 clusters new, 0 clusters freed", "written to the file: 0 of the guest"],
          3: ["written to the file: 64K of the guest"],
        ]
      }),
    Question(
      number: 25, words: "What do the tables of each layer cost?", image: .top, keys: ["S", "j", "Enter"],
      shows: { images in
        func tables(_ path: String) throws -> String {
          let reader = try PlainReader(path)
          let count = reader.roles.filter { "HTB12".contains($0) }.count
          return "metadata \((UInt64(count) << reader.clusterBits) >> 10)K"
        }
        return [
          0: [try tables(images.path(.top))],
          3: ["over base.qcow2", try tables(images.folder.path("middle.qcow2"))],
        ]
      }),
  ]

  /// A row of a map.
  private static func row(_ address: String, _ letters: ArraySlice<Character>) -> String {
    let groups = stride(from: letters.startIndex, to: letters.endIndex, by: 16)
    return ([address] + groups.map { String(letters[$0..<$0 + 16]) }).joined(separator: " ")
  }

  // MARK: Where are the bytes?

  private static let content = [
    Question(
      number: 9, words: "The check says fragmented: should one worry?", image: .scattered, keys: ["F"],
      shows: { images in
        let path = try images.path(.scattered)
        let entries = try images.reader(.scattered).entries.sorted { $0.key < $1.key }
        var runs = 0
        for (index, entry) in entries.enumerated() {
          let before = index == 0 ? nil : entries[index - 1]
          let isNext =
            before.map { $0.key + 1 == entry.key && $0.value.descriptor + cluster == entry.value.descriptor }
            ?? false
          runs += isNext ? 0 : 1
        }
        let said = try images.must("qemu-img", ["check", path])
        guard let part = said.firstMatch(of: /([0-9.]+%) fragmented/) else { throw TestFailure(said) }
        return [1: ["runs, in guest order \(runs)", "qemu-img check says \(part.1)"]]
      }),
    Question(
      number: 11, words: "How is 1K at 512 read, entry by entry?", image: .compressed,
      keys: [":g 512", ":read 512 1k"], isSmall: true,
      shows: { images in
        guard let entry = try images.reader(.compressed).entries[0] else { throw TestFailure("no entry") }
        let stream = entry.descriptor & (1 << 54 - 1)
        try images.io(try images.copy(.compressed), "read -P 0x41 512 1k")
        return [
          1: [
            "L1[0] * 8000\(hex(entry.address, digits: 12)) COPIED",
            "L2[0] @\(hex(entry.address, digits: 6)) \(hex(entry.descriptor, digits: 16)) compressed",
            "stream at 0x\(hex(stream))",
          ], 2: ["read 0x200 1k: every byte is 0x41"],
        ]
      }),
    Question(
      number: 12, words: "Which part of the guest sits on this block of the file?", image: .partitioned,
      keys: [":g host 0x150000"], isSmall: true,
      shows: { images in
        let host = try images.host(of: 1 << 20, in: images.path(.partitioned))
        guard host == 0x150000 else { throw TestFailure("guest 1M is at \(hex(host))") }
        return [1: ["guest 0x100000 1 MiB", "label partition 1, guest 0x40000 to 0x23ffff"]]
      }),
  ]

  // MARK: What is damaged, and may it be repaired?

  private static let damage = [
    Question(
      number: 13, words: "Which L2 table was overwritten, and with what?", image: .text, keys: ["!", "p"],
      shows: { images in
        _ = try images.path(.text)
        let table = hex(try images.secondTable())
        let (errors, leaks) = (
          try images.check("text.qcow2", "corruptions"), try images.check("text.qcow2", "leaks")
        )
        return [
          1: [
            "\(errors) errors, \(leaks) leaked clusters", "All \(errors) lie in the L2 table of L1[1]",
          ],
          2: ["\(table) 74 68 65 20 71 75 69 63 6b 20 62 72 6f 77 6e 20 the quick brown"],
        ]
      }),
    Question(
      number: 14, words: "The first cluster is lost: what survives?", image: .headless,
      arguments: ["--salvage"], keys: ["V"],
      shows: { images in
        let header = try bytes(ofFile: images.path(.scattered), at: 0, count: 48)
        func field(_ range: Range<Int>) -> String {
          header[range].map { hex(UInt64($0), digits: 2) }.joined()
        }
        return [
          1: [
            "14 cluster_bits ~\(field(20..<24))", "28 l1_table_of* ~\(field(40..<48))",
            "1 L2 table by: L1 entry",
          ]
        ]
      }),
    Question(
      number: 15, words: "Leaks in one window: litter, or a lost table? Does a repair destroy it?",
      image: .leaking,
      keys: ["!", "r"],
      shows: { images in
        let path = try images.path(.leaking)
        let leaks = try images.check(path, "leaks")
        let end = try length(ofFile: path)
        return [
          1: [
            "\(leaks) clusters without an owner hold data (host 0x\(hex(end - leaks * cluster)) to "
              + "0x\(hex(end - 1)))"
          ], 2: ["no byte would change", "afterwards: 0 errors, \(leaks) leaked clusters"],
        ]
      }),
    Question(
      number: 16, words: "May it be repaired, and what would that change?", image: .past, keys: ["!", "r"],
      shows: { images in
        let place = try images.damagedEntry()
        let copy = try images.copy(.past)
        // It ends with what is left.
        _ = try run("qemu-img", ["check", "-q", "-r", "all", copy])
        let left = try images.check(copy, "corruptions")
        let before = try images.entry(images.path(.past), at: place)
        let after = try images.entry(copy, at: place)
        guard before != after, left == 1 else { throw TestFailure("\(before) \(after), \(left) left") }
        return [2: ["*@\(hex(place)) \(before) -> \(after)", "afterwards: \(left) error"]]
      }),
    Question(
      number: 17, words: "An entry leads behind the end of the file: which one?", image: .past,
      keys: ["!", "Enter"],
      shows: { images in
        let path = try images.path(.past)
        let place = try images.damagedEntry()
        let target = try hex(length(ofFile: path) + 0x10_0000)
        return [
          1: ["guest 0x320000 to 0x32ffff", "file length 0x\(hex(try length(ofFile: path)))"],
          2: ["entry 50 at host 0x\(hex(place))", "host 0x\(target)", "conflict behind the end of the file"],
        ]
      }),
  ]
}
