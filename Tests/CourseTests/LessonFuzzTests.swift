// Files of lessons that somebody made wrong, by accident or on purpose: they are refused with a line, or are played within
// bounds. No file traps.

import TestSupport
import Testing

@testable import Course

@Suite("Lessons that are wrong", .tags(.fast))
struct LessonFuzzTests {
  /// Numbers that programs take badly.
  private static let numbers = [
    "0", "-1", "1", "511", "513", "0x7fffffffffffffff", "18446744073709551615", "0xffffffffffffffff",
    "9223372036854775808", "1T", "64T", "16777216T", "99999999999999999999", "4294967296", "65", "1k", "64M",
  ]

  private static func mutate(_ text: [UInt8], _ other: [UInt8], _ random: inout SplitMix64) -> [UInt8] {
    var lines = text.split(separator: 10, omittingEmptySubsequences: false).map(Array.init)
    func any(_ count: Int) -> Int { Int(random.below(UInt64(max(1, count)))) }
    for _ in 0...any(3) {
      let at = any(lines.count)
      switch any(9) {
      case 0: lines.remove(at: at)
      case 1: lines.insert(lines[at], at: any(lines.count))
      case 2: lines.swapAt(at, any(lines.count))
      case 3: lines[at] = Array(lines[at].prefix(any(lines[at].count)))
      case 4 where !lines[at].isEmpty: lines[at][any(lines[at].count)] = UInt8(any(256))
      case 5:
        let others = other.split(separator: 10).map(Array.init)
        if !others.isEmpty { lines.insert(others[any(others.count)], at: at) }
      default:
        // A number of a line that has some.
        let places = lines.indices.filter { lines[$0].contains { (0x30...0x39).contains($0) } }
        guard !places.isEmpty else { continue }
        let place = places[any(places.count)]
        let line = lines[place]
        let starts = line.indices.filter {
          (0x30...0x39).contains(line[$0]) && ($0 == 0 || !(0x30...0x39).contains(line[$0 - 1]))
        }
        let start = starts[any(starts.count)]
        let end = line[start...].firstIndex { !(0x30...0x39).contains($0) } ?? line.count
        lines[place].replaceSubrange(start..<end, with: Array(numbers[any(numbers.count)].utf8))
      }
      if lines.isEmpty { return [] }
    }
    return Array(lines.joined(separator: [10]))
  }

  @Test(
    "a lesson with some lines changed is read or refused, and played in bounds",
    arguments: LessonLibrary.names)
  func mutations(_ name: String) throws {
    let text = try #require(LessonLibrary.text(name))
    #expect((try? LessonParser.read(text, name: name)) != nil)
    let names = LessonLibrary.names
    var random = SplitMix64(seed: 0x1e55_0000 + UInt64(names.firstIndex(of: name) ?? 0))
    var played = 0
    for number in 0..<60 {
      let other = LessonLibrary.text(names[Int(random.below(UInt64(names.count)))]) ?? []
      let mutated = Self.mutate(text, other, &random)
      let lesson: Lesson
      do throws(LessonProblem) { lesson = try LessonParser.read(mutated, name: name) } catch {
        #expect((error.line ?? 1) >= 1 && !error.reason.isEmpty)
        continue
      }
      guard played < 3 else { continue }
      played += 1
      let clock = ContinuousClock()
      let time = clock.measure { _ = LessonProof(lesson) }
      #expect(
        time < .seconds(30),
        "\(name), mutation \(number): \(time)\n\(String(decoding: mutated, as: UTF8.self))")
    }
    #expect(played > 0, "\(name): nothing was left to play")
  }

  @Test("what is not a lesson at all is refused with a reason")
  func others() {
    let texts: [[UInt8]] = [
      [], [0], [0xff, 0xfe], Array("lesson".utf8), Array("  img create disk 1M".utf8),
      Array(repeating: 10, count: 5000), Array(repeating: 0x41, count: 1 << 18),
      Array(repeating: 0x41, count: 1 << 18 + 1), Array(String(repeating: "step x\n", count: 3000).utf8),
      Array("lesson x\nimage\n  img create -f qcow2 disk 99999999T".utf8),
      Array(("lesson x\nsay " + String(repeating: "{", count: 10_000)).utf8),
      Array(("lesson x\nfact " + String(repeating: "before.", count: 10_000) + "length = 1").utf8),
    ]
    for text in texts {
      #expect(throws: LessonProblem.self) { _ = try LessonParser.read(text, name: "x") }
    }
  }

  /// Each is the whole of what a hostile lesson asks for.
  @Test(
    "operations with numbers that no image has",
    arguments: [
      "undo -5", "undo 99999999999999999999", "write 0 16777216T", "write -P 0x11 18446744073709551615 64k",
      "read 0 9223372036854775807", "discard 0 18446744073709551615", "poke 18446744073709551615 00",
      "punch 0 18446744073709551615", "cut 0", "cut 18446744073709551615", "cut 1T", "resize 16777216T",
      "resize --shrink 0", "race write 0 18446744073709551615, write -z 0 1T", "snapshot -c", "bitmap --add",
      "open disk cache-size=18446744073709551615", "check -r nobody", "crash", "rebase -b disk", "commit",
    ])
  func operations(_ line: String) throws {
    let bench = Workbench()
    try bench.run("img create -q -f qcow2 disk 1M")
    try bench.run("io disk: write -P 0x11 0 64k")
    let stage = try LessonStage(bench)
    stage.endOperation()
    let clock = ContinuousClock()
    let time = clock.measure {
      do throws(LessonProblem) { try stage.perform(line) } catch { #expect(!error.reason.isEmpty) }
      for query in ["check", "length", "rc[0..8]", "owner[5]", "read 0 64k", "step.writes", "map[0]"] {
        _ = try? stage.moment.value(Query(query))
      }
    }
    #expect(time < .seconds(20), "\(line): \(time)")
  }

  @Test(
    "queries with numbers that no image has",
    arguments: [
      "rc[0..18446744073709551615]", "rc[18446744073709551615]", "clusters[0..18446744073709551615]",
      "bytes@0,18446744073709551615", "bytes@18446744073709551615,1", "read 0 18446744073709551615",
      "read 18446744073709551615 1", "l2[18446744073709551615]", "l1[18446744073709551615]",
      "bitmap[18446744073709551615]", "type[0][18446744073709551615]", "owner[18446744073709551615]",
      "u64@18446744073709551615", "split[18446744073709551615]", "lookup[18446744073709551615]",
      "host[18446744073709551615]", "l1.start[18446744073709551615]", "l1.range[18446744073709551615]",
      "rc.at[18446744073709551615]", "line[18446744073709551615]", "step.check[18446744073709551615]",
      "after[18446744073709551615].length", "measure 16777216T", "cache 16777216T",
      "map[18446744073709551615]",
      "layer[18446744073709551615]", "entry(ffffffffffffffff).host", "entry(ffffffffffffffff).bytes",
      "l1.at[18446744073709551615]", "l2.at[18446744073709551615]", "18446744073709551615 + 1", "0 - 1",
    ])
  func queries(_ text: String) throws {
    let bench = Workbench()
    try bench.run("img create -q -f qcow2 disk 1M")
    let stage = try LessonStage(bench)
    try stage.perform("write -P 0x11 0 64k")
    let clock = ContinuousClock()
    let time = clock.measure {
      guard let query = try? Query(text) else { return }
      let value = (try? stage.moment.value(query).text) ?? ""
      #expect(value.utf8.count < 1 << 20, "\(text)")
    }
    #expect(time < .seconds(20), "\(text): \(time)")
  }
}
