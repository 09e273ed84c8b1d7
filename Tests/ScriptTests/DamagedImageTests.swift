// Images with a part that is lost, cut short or not plausible: what can be looked at opens, for looking only,
// and says what is wrong with which part; damaged entries are told in words.

import CellScreen
import Explorer
import ExplorerSupport
import Foundation
import Qcow
import TestSupport
import Testing

/// A part that is damaged, and the words that tell of it.
struct DamagedPart: CustomTestStringConvertible, Sendable {
  enum Kind: Sendable { case snapshots, bitmaps }
  var name: String
  var kind: Kind
  /// Words of the reason.
  var reason: String
  var damage: @Sendable (inout RawImage) -> Void
  var testDescription: String { name }

  /// The image that gets the damage.
  func make() throws -> ImageFolder {
    let folder = try ImageFolder()
    switch kind {
    case .snapshots: try folder.image(["snapshot", "-c", "one", folder.path])
    case .bitmaps: try folder.image(["bitmap", "--add", folder.path, "b"])
    }
    try folder.change(damage)
    return folder
  }

  static let all: [DamagedPart] = [
    .init(name: "snapshot table behind the end", kind: .snapshots, reason: "snapshot table") {
      $0.put(1 << 40, 64)
    },
    .init(name: "snapshot table off its boundary", kind: .snapshots, reason: "snapshot table") {
      $0.put($0.word(64) + 8, 64)
    },
    .init(name: "65,535 snapshots", kind: .snapshots, reason: "snapshot") {
      $0.bytes.replaceSubrange(60..<64, with: [0, 0, 0xff, 0xff])
    },
    .init(name: "four billion snapshots", kind: .snapshots, reason: "snapshot") {
      $0.bytes.replaceSubrange(60..<64, with: [0xff, 0xff, 0xff, 0xff])
    },
    .init(name: "extra data of gigabytes", kind: .snapshots, reason: "extra metadata") {
      let at = Int($0.word(64)) + 36
      $0.bytes.replaceSubrange(at..<at + 4, with: [0x7f, 0xff, 0xff, 0xff])
    },
    .init(name: "bitmap directory behind the end", kind: .bitmaps, reason: "bitmap") {
      $0.put(1 << 40, $0.bitmaps + 16)
    },
    .init(name: "bitmap directory off its boundary", kind: .bitmaps, reason: "bitmap") {
      $0.put($0.word($0.bitmaps + 16) + 8, $0.bitmaps + 16)
    },
    .init(name: "bitmap directory of no bytes", kind: .bitmaps, reason: "bitmap") {
      $0.put(0, $0.bitmaps + 8)
    },
    .init(name: "bitmap directory of exabytes", kind: .bitmaps, reason: "bitmap") {
      $0.put(1 << 62, $0.bitmaps + 8)
    },
    .init(name: "70,000 bitmaps", kind: .bitmaps, reason: "bitmap") {
      let at = $0.bitmaps
      $0.bytes.replaceSubrange(at..<at + 4, with: [0, 1, 0x11, 0x70])
    },
  ]
}

extension RawImage {
  /// Where the data of the bitmaps extension begins.
  var bitmaps: Int {
    var at = 104
    while at < 4096 {
      let head = word(at)
      if head >> 32 == 0x2385_2875 { return at + 8 }
      at += 8 + (Int(head & 0xffff_ffff) + 7) / 8 * 8
    }
    return 104
  }
}

@Suite(.tags(.fast)) struct DamagedImageTests {
  @Test("a damaged accessory leaves the disk to be looked at", arguments: DamagedPart.all)
  func accessories(_ part: DamagedPart) throws {
    let folder = try part.make()
    let before = try Data(contentsOf: URL(fileURLWithPath: folder.path))
    for mode in [Session.Mode.scratch, .readOnly] {
      let explorer = try folder.explorer(mode)
      #expect(explorer.title.contains("[ro]"), "\(explorer.title)")
      let reason = explorer.session.refusal ?? ""
      // Some are only in the way of who changes the image, and the genuine tool looks past them too.
      let isInTheWay = mode == .scratch || !explorer.session.image.damagedParts.isEmpty
      if isInTheWay { #expect(reason.lowercased().contains(part.reason), "\(reason)") }
      // The disk is there, and nothing changes it.
      _ = try explorer.picture(":read -P 0xcd 0 64k")
      _ = explorer.performLine(":write 0 64k")
      #expect(explorer.messageIsError && explorer.message == explorer.session.refusal)
      // Refcounts of a snapshot that nobody knows of make the clusters shared ones.
      #expect(try explorer.picture(":goto 0").contains(part.kind == .snapshots ? "sss" : "###"))
    }
    // Who opened it is told at once, with its reason, also on a small screen.
    let small = try folder.explorer(width: 80, height: 24)
    #expect(small.messageIsError)
    #expect(try words(of: small.message).allSatisfy { small.canvas().text().contains($0) })
    #expect(try Data(contentsOf: URL(fileURLWithPath: folder.path)) == before)
  }

  private func words(of message: String?) throws -> [String] {
    try #require(message).split(separator: " ").map(String.init)
  }

  @Test("an image marked as corrupt opens for looking and says so")
  func corrupt() throws {
    let folder = try ImageFolder()
    try folder.change { $0.bytes[79] |= 2 }
    let explorer = try folder.explorer()
    #expect(explorer.title.contains("[ro]") && explorer.title.contains("CORRUPT"))
    #expect(explorer.message?.contains("Image is corrupt") == true, "\(explorer.message ?? "")")
    _ = try explorer.picture(":read -P 0xcd 0 64k")
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":write 0 64k", on: explorer) }
  }

  // MARK: Entries

  /// Damages of the second L2 entry: what breaks the rule, as words.
  static let entries: [(options: String, reason: String, descriptor: UInt64, bitmap: UInt64)] = [
    ("", "the offset is not on a cluster boundary", 1 << 63 | 0x2869_7320_697a00, 0),
    ("compat=0.10", "the zero flag does not exist in version 2", 1 << 63 | 0x60001, 0),
    ("extended_l2=on", "a subcluster is allocated and zero at once", 1 << 63 | 0x60000, 1 << 32 | 1),
    ("extended_l2=on", "subclusters are allocated without a host cluster", 0, 3),
  ]

  @Test("what is wrong with an entry is said in words, once", arguments: entries.indices)
  func damagedEntry(_ number: Int) throws {
    let (options, reason, descriptor, bitmap) = Self.entries[number]
    let folder = try ImageFolder(options: options)
    try folder.change { image in
      let size = options.contains("extended") ? 16 : 8
      image.put(descriptor, image.l2 + size)
      if size == 16 { image.put(bitmap, image.l2 + size + 8) }
    }
    for (width, height) in [(120, 40), (80, 24)] {
      let explorer = try folder.explorer(width: width, height: height)
      for script in [":goto 64k", ":goto L2 0 1", "p", ":frag"] {
        let picture = try explorer.picture(script)
        // Names of cases of the program are no words.
        #expect(picture.firstMatch(of: /[a-z]{2}[A-Z][a-z]/) == nil, "\(script)\n\(picture)")
      }
      let place = try explorer.picture(":explorer\n:goto 64k")
      #expect(place.contains(width == 80 ? String(reason.prefix(24)) : reason), "\(place)")
      _ = explorer.performLine(":write 64k 4k")
      let message = explorer.message ?? ""
      #expect(explorer.messageIsError, "\(message)")
      // One sentence for one refusal: no part of it is said twice.
      let parts = message.split(whereSeparator: { ":;".contains($0) }).map {
        $0.trimmingCharacters(in: .whitespaces)
      }
      #expect(Set(parts).count == parts.count, "\(message)")
    }
  }

  @Test("an address that does not fit its column ends in an ellipsis", arguments: [(120, 40), (80, 24)])
  func longAddress(_ width: Int, _ height: Int) throws {
    let folder = try ImageFolder()
    let address: UInt64 = 0x28_6973_2069_0000
    try folder.change { $0.put(1 << 63 | address, $0.l2 + 8) }
    for glyphs in GlyphSet.allCases {
      let explorer = try folder.explorer(width: width, height: height, glyphs: glyphs)
      let picture = try explorer.picture(":goto L2 0 1")
      let row = try #require(
        picture.split(separator: "\n").first { $0.contains(">") && $0.contains("10000") })
      let words = row.split(separator: " ").map(String.init)
      let host = try #require(words.first { $0.hasPrefix("28697") || $0.hasPrefix("286") }, "\(row)")
      #expect(
        host == String(address, radix: 16) || host.hasSuffix(glyphs == .ascii ? "..." : "\u{2026}"), "\(row)")
    }
  }
}
