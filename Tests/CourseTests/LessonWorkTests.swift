// Parts of the course by themselves: how answers are judged, what tells files apart, what the genuine tools are asked, and
// that no fault ever reaches a file of the host.

import Foundation
import Storage
import TestSupport
import Testing

@testable import Course
@testable import Qcow

@Suite("Parts of the course", .tags(.fast))
struct LessonWorkTests {
  private static let head = """
    lesson small
    title A title
    goal A goal
    minutes 3
    trap A trap
    image
      img create -q -f qcow2 disk 1M

    """

  private static func lesson(_ ask: String, do deed: String = "write -P 0x11 0 4k") throws -> Lesson {
    let text =
      head + """
        step One
        show screen=explorer
        say Something.
        \(ask)
        do \(deed)
        why Because.
        exercise More
          hint a
          hint b
          hint c
          reach length = 458752
        solution write 64k 4k
        """
    return try LessonParser.read(Array(text.utf8), name: "small")
  }

  /// The moment behind the only step, and its question.
  private static func asked(
    _ ask: String, do deed: String = "write -P 0x11 0 4k"
  ) throws -> (LessonMoment, Lesson.Question) {
    let lesson = try lesson(ask, do: deed)
    let stage = try LessonStage(lesson)
    try stage.enter(lesson.steps[0])
    for line in lesson.steps[0].deeds {
      try stage.perform(line.text)
      stage.endOperation()
    }
    return (stage.moment, try #require(lesson.steps[0].question))
  }

  private static let hints = "  hint a\n  hint b\n  hint c\n"

  // MARK: Judgement

  @Test("a number is right in every form, and a slip gets its text")
  func number() throws {
    let (moment, question) = try Self.asked(
      "ask number How long?\n\(Self.hints)  slip 200712: the table too\n  answer length = 393216")
    for given in ["393216", "384k", "384K", "0x60000", " 393216 "] {
      #expect(try moment.judge(given, question) == .right, "\(given)")
    }
    #expect(try moment.judge("200712", question) == .wrong(slip: "the table too"))
    #expect(try moment.judge("0x31008", question) == .wrong(slip: "the table too"))
    for given in ["393217", "384", "", "k", "393216 1", "18446744073709551616"] {
      #expect(try moment.judge(given, question) == .wrong(slip: nil), "\(given)")
    }
    #expect(try moment.rightAnswer(question) == "393216")
  }

  @Test("the image is asked and not the text: another operation has another right answer")
  func own() throws {
    let (moment, question) = try Self.asked(
      "ask number How long?\n\(Self.hints)  answer length = 393216", do: "write -P 0x11 0 128k")
    #expect(try moment.judge("393216", question) == .wrong(slip: nil))
    #expect(try moment.judge("458752", question) == .right)
  }

  @Test("an entry, a list and a choice")
  func others() throws {
    let (moment, entry) = try Self.asked(
      "ask entry Which?\n\(Self.hints)  answer l2[0] = 8000000000050000")
    #expect(try moment.judge("8000000000050000", entry) == .right)
    #expect(try moment.judge("0x8000000000050000", entry) == .right)
    #expect(try moment.judge("0000000000050000", entry) == .wrong(slip: nil))
    let (counts, list) = try Self.asked("ask list Which?\n\(Self.hints)  answer rc[4..6] = 1 1 0")
    #expect(try counts.judge("1 1 0", list) == .right)
    #expect(try counts.judge("1  1,0", list) == .right)
    #expect(try counts.judge("1 1", list) == .wrong(slip: nil))
    #expect(try counts.judge("1 1 0 0", list) == .wrong(slip: nil))
    let choices = "ask choice Which?\n  choice a one\n  choice b two\n\(Self.hints)"
    let (chosen, choice) = try Self.asked(choices + "  answer b when rc[5] = 1")
    #expect(try chosen.judge("b", choice) == .right)
    #expect(try chosen.judge(" B", choice) == .right)
    #expect(try chosen.judge("a", choice) == .wrong(slip: nil))
    let (left, taken) = try Self.asked(choices + "  answer b when rc[5] = 1", do: "read 0 4k")
    #expect(try left.judge("b", taken) == .takenBack)
    #expect(try left.judge("a", taken) == .takenBack)
  }

  @Test("an order is right if it is no worse at its worst stop")
  func order() throws {
    let ask = "ask order Which?\n\(Self.hints)  accept worst\n  answer step.order = "
    let deed = "write -P 0x11 64k 4k"
    let (moment, question) = try Self.asked(ask + "x", do: deed)
    let count = try #require(try moment.stepRecord()).writes.count
    let right = (1...count).map(String.init)
    #expect(try moment.judge(right.joined(separator: " "), question) == .right)
    // The entry that makes it visible comes before the count: an owner that nobody has counted.
    let wrong = right.dropLast(2) + [right[count - 1], right[count - 2]]
    #expect(try moment.judge(wrong.joined(separator: " "), question) == .wrong(slip: nil))
    #expect(try moment.judge("1 1 1", question) == .wrong(slip: nil))
  }

  @Test("values in a text are those of the image, and what has none is a question mark")
  func filled() throws {
    let (moment, _) = try Self.asked("ask number How long?\n\(Self.hints)  answer length = 393216")
    #expect(moment.filled("{length} and {l2[0].host}: {nonsense} {") == "393216 and 0x50000: ? {")
  }

  // MARK: Digests

  private static func bench(_ lines: String...) throws -> Workbench {
    let bench = Workbench()
    for line in lines { try bench.run(line) }
    return bench
  }

  @Test("equal files have equal digests, and every byte, length and name counts")
  func digests() throws {
    let create = "img create -q -f qcow2 disk 1M"
    let one = try Self.bench(create, "io disk: write -P 0x11 0 4k")
    #expect(
      FileDigest.of(one, "disk")
        == FileDigest.of(try Self.bench(create, "io disk: write -P 0x11 0 4k"), "disk"))
    for line in [
      "poke disk: 0x50fff 01", "poke disk: 0 00", "cut disk: 393215", "cut disk: 393217",
      "io disk: write -P 0x12 0 512", "img snapshot -c s disk", "img create -q -f raw other 1M",
    ] {
      let other = one.copy()
      try other.run(line)
      #expect(FileDigest.of(other, "disk") != FileDigest.of(one, "disk"), "\(line)")
    }
    let two = try Self.bench(create, "img create -q -f qcow2 other 1M")
    #expect(FileDigest.of(two, "disk") != FileDigest.of(two, "other"))
  }

  @Test("zeroes and a hole are the same, and so is what is only allocated; dates do not count")
  func digestsOfNothing() throws {
    let holes = Workbench(["disk": MemoryStorage(name: "disk")])
    try holes.file("disk").truncate(to: 1 << 30, tag: .untagged)
    let zeroes = holes.copy()
    try zeroes.file("disk").write([UInt8](repeating: 0, count: 1 << 16), at: 1 << 20)
    let allocated = holes.copy()
    try allocated.file("disk").allocate(at: 0, count: 1 << 30, tag: .untagged)
    let clock = ContinuousClock()
    let time = clock.measure {
      #expect(FileDigest.of(holes, "disk") == FileDigest.of(zeroes, "disk"))
      #expect(FileDigest.of(holes, "disk") == FileDigest.of(allocated, "disk"))
      #expect(holes.difference(from: zeroes.files) == nil)
      #expect(allocated.difference(from: holes.files) == nil)
    }
    // A gigabyte that is only allocated is not read.
    #expect(time < .seconds(5), "\(time)")
    let one = try Self.bench("img create -q -f qcow2 disk 1M", "img snapshot -c s disk")
    let other = one.copy()
    let at = try #require(ImageBytes(try other.file("disk"))?.dates.first).lowerBound
    try other.file("disk").write([0x55, 0x66], at: at)
    #expect(FileDigest.of(one, "disk") == FileDigest.of(other, "disk"))
    #expect(one.difference(from: other.files) == nil)
    try other.file("disk").write([0x55], at: at - 1)
    #expect(FileDigest.of(one, "disk") != FileDigest.of(other, "disk"))
    #expect(one.difference(from: other.files)?.contains("from 0x\(String(at - 1, radix: 16)) on") == true)
  }

  // MARK: Genuine tools

  @Test("a difference is told by file and place")
  func differences() throws {
    let one = try Self.bench("img create -q -f qcow2 disk 1M", "img create -q -f raw base 1M")
    #expect(one.difference(from: one.copy().files) == nil)
    var files: [String: any Storage] = one.copy().files
    files["more"] = MemoryStorage(name: "more")
    #expect(one.difference(from: files) == "'more' is made by the tools only")
    files["more"] = nil
    files["base"] = nil
    #expect(one.difference(from: files) == "'base' is not made by the tools")
    let longer = one.copy()
    try longer.run("cut base: 1048577")
    #expect(
      one.difference(from: longer.files) == "'base' has 1048576 bytes, that of the tools 1048577")
    // In the hole of the other, in its own, and in the last byte.
    for (bytes, at) in [([UInt8(7)], UInt64(0x7f123)), ([0], 1), ([9], 1_048_575)] {
      let (mine, theirs) = (one.copy(), one.copy())
      try (bytes == [0] ? mine : theirs).file("base").write(bytes == [0] ? [3] : bytes, at: at)
      #expect(
        mine.difference(from: theirs.files)
          == "'base' and that of the tools differ from 0x\(String(at, radix: 16)) on")
    }
  }

  @Test("what the tools are asked for a line and for a session")
  func work() throws {
    let bench = try Self.bench("img create -q -f qcow2 disk 1M", "img create -q -f raw base 1M")
    #expect(
      ToolWork("img snapshot -c \"a b\" disk", on: bench)?.commands
        == [ToolWork.Command(program: "qemu-img", arguments: ["snapshot", "-c", "a b", "disk"])])
    #expect(
      ToolWork("io disk: write 0 4k ; read 0 4k", on: bench)?.commands
        == [
          ToolWork.Command(program: "qemu-io", arguments: ["-c", "write 0 4k ", "-c", "read 0 4k", "disk"])
        ])
    #expect(
      ToolWork("io base: write 0 4k", on: bench)?.commands.first?.arguments
        == ["-c", "write 0 4k", "-f", "raw", "base"])
    #expect(ToolWork("poke disk: 0 00", on: bench) == nil && ToolWork("noise n: 1 4k", on: bench) == nil)
    let session = ToolWork(
      session: ["write 0 4k"], on: bench, "disk", "discard-no-unref=on, overlap-check=none",
      isReadOnly: false,
      crashes: true)
    #expect(
      session.commands.first?.arguments
        == [
          "-c", "write 0 4k", "-c", "sigraise 9", "--image-opts",
          "driver=qcow2,discard-no-unref=on,overlap-check=none,file.driver=file,file.filename=disk",
        ])
  }

  @Test("what only this program does is not asked of the tools")
  func notAsked() throws {
    let stage = try LessonStage(try Self.bench("img create -q -f qcow2 disk 1M"))
    try stage.perform("write 0 4k")
    #expect(stage.toolWork != nil)
    try stage.perform("poke 0x50000 11")
    #expect(stage.toolWork == nil)
    try stage.perform("policy pinned")
    try stage.perform("write 0 4k")
    #expect(stage.toolWork == nil)
    let faulty = try LessonStage(try Self.bench("img create -q -f qcow2 disk 1M"), fault: "stale-punch")
    try faulty.perform("write 0 4k")
    #expect(faulty.toolWork == nil)
    #expect(throws: LessonProblem.self) { _ = try LessonStage(Workbench(), fault: "nobody") }
  }

  // MARK: Faults

  @Test("no fault is switched on for a file of the host", arguments: WrongOrder.allCases)
  func refused(_ order: WrongOrder) throws {
    let folder = try TemporaryDirectory()
    let bench = try Self.bench("img create -q -f qcow2 disk 1M")
    let memory = try bench.open("disk")
    WrongOrder.switchOn([order], in: memory)
    #expect(WrongOrder.on(in: memory) == [order])
    let file = try bench.file("disk")
    let path = folder.path("disk")
    try Data(try file.bytes(at: 0, count: Int(file.length))).write(to: URL(fileURLWithPath: path))
    var options = Image.Options()
    options.writable = true
    let storage = try FileStorage(path: path, mode: .readWrite)
    #expect(!storage.isInMemory)
    let real = try Image(storage, options: options)
    WrongOrder.switchOn([order], in: real)
    #expect(WrongOrder.on(in: real).isEmpty)
    try real.close()
  }

  // MARK: Own lessons

  @Test("the file that --new writes proves itself, under any name", arguments: ["mine", "a-b_c9"])
  func draft(_ name: String) throws {
    let lesson = try LessonParser.read(Array(LessonDraft.text(name).utf8), name: "folder/" + name)
    #expect(lesson.name == "folder/" + name)
    let proof = LessonProof(lesson)
    #expect(proof.wrong.isEmpty, "\(proof.wrong.map(\.text))")
    #expect(proof.statements >= 8)
    #expect(LessonProof(lesson) { $0.denied }.held.isEmpty)
    #expect(throws: LessonProblem.self) {
      _ = try LessonParser.read(Array(LessonDraft.text(name).utf8), name: "folder/other")
    }
  }
}
