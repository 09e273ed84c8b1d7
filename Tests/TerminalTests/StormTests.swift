// Bytes of keys and of a mouse in any order into the real program: it goes on, ends when it is told to, gives the
// terminal back, and the file is as it was. QATLAS_KEYS changes how many there are, QATLAS_SEED the first seed.

import Foundation
import TestSupport
import Testing

@Suite("qatlas in a storm", .serialized, .tags(.terminal), .waits)
struct StormTests {
  /// Keys, as a terminal sends them. Ctrl-Z and Ctrl-C are for other tests; `:w` is not typed by chance, since every
  /// colon is left again.
  private static let keys: [String] =
    (0x20...0x7e).map { String(UnicodeScalar(UInt8($0))) }.filter {
      $0 != ":" && $0 != "q" && $0 != "Q" && $0 != "W"
    }
    + [
      "\r", "\t", "\u{1b}", "\u{7f}", "\u{1}", "\u{2}", "\u{4}", "\u{5}", "\u{6}", "\u{e}", "\u{10}",
      "\u{12}",
      "\u{13}", "\u{15}", "\u{1b}[A", "\u{1b}[B", "\u{1b}[C", "\u{1b}[D", "\u{1b}[H", "\u{1b}[F", "\u{1b}[5~",
      "\u{1b}[6~", "\u{1b}[Z", "\u{1b}[3~", "\u{1b}OP", "\u{1b}[200~pasted\u{1b}[201~", ":\u{1b}", "q\u{1b}",
    ]

  @Test("a storm of keys in a terminal", arguments: [[], ["--ro"]])
  func storm(_ mode: [String]) throws {
    let folder = try TemporaryDirectory()
    let path = folder.path("a.qcow2")
    for (tool, words) in [
      ("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "extended_l2=on", path, "64M"]),
      ("qemu-io", ["-f", "qcow2", "-c", "write 0 3M", "-c", "write 20M 90k", path]),
      ("qemu-img", ["snapshot", "-c", "one", path]),
      ("qemu-io", ["-f", "qcow2", "-c", "write 1M 1M", path]),
    ] { try #require(try run(try requireTool(tool), words).status == 0) }
    let before = try Data(contentsOf: URL(fileURLWithPath: path))
    let count = try environmentNumber("QATLAS_KEYS", default: 400)
    let seed = try environmentNumber("QATLAS_SEED", default: 1)
    var random = SplitMix64(seed: seed &* 2 + UInt64(mode.count))
    var session = try Program.start(mode + [path])
    for number in 0..<count {
      if random.below(12) == 0 {
        let (x, y) = (1 + random.below(120), 1 + random.below(40))
        let button = [0, 0, 0, 2, 64, 65][Int(random.below(6))]
        session.send("\u{1b}[<\(button);\(x);\(y)M\u{1b}[<\(button);\(x);\(y)m")
      } else {
        session.send(Self.keys.randomElement(using: &random) ?? " ")
      }
      if number % 16 == 15 { session.settle() }
      // A session ends by a click on its hint.
      if session.state == "Z" {
        #expect(try session.waitForExit() == 0, "seed \(seed), key \(number)")
        #expect(session.leftovers == [], "seed \(seed), key \(number)")
        session = try Program.start(mode + [path])
      }
    }
    session.settle()
    session.signal(SIGTERM)
    #expect(try session.waitForExit() == 143, "seed \(seed)")
    #expect(session.leftovers == [])
    #expect(session.settings == session.initialSettings)
    #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
  }
}
