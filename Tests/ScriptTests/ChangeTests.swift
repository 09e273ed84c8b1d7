// Changes by keys and commands: undo byte for byte, dialogs that change nothing before Enter, saving
// that refuses when the file changed, long work that is given up.

import CellScreen
import Explorer
import ExplorerSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

/// An image in memory that stands for a file, and an explorer on it.
struct FileCase {
  let file = MemoryStorage(name: "file")
  let files: MemoryFiles
  let explorer: Explorer

  init(mode: Session.Mode = .scratch) throws {
    var options = Image.CreateOptions(size: 64 << 20)
    options.extendedL2 = true
    try Image.create(on: file, options)
    let image = try Image(file, options: Self.writable)
    try [UInt8](repeating: 9, count: 100_000).withUnsafeBytes { try image.write($0, at: .init(0)) }
    try image.close()
    files = MemoryFiles(image: file)
    explorer = Explorer(
      try Session(try Self.copy(of: file), title: "file", mode: mode, files: files), files: files, width: 120,
      height: 40,
      glyphs: .ascii)
    settle(explorer)
  }

  private static var writable: Image.Options {
    var options = Image.Options()
    options.writable = true
    return options
  }

  static func copy(of storage: MemoryStorage) throws -> MemoryStorage {
    MemoryStorage(name: "file", bytes: try storage.contents())
  }

  /// All the explorer shows as bytes.
  func shown() throws -> [UInt8] { try explorer.shownBytes() }
}

@Suite(.tags(.fast)) struct ChangeTests {
  static let lines = [
    ":write 5M 64k", ":write -P 0x55 1M 300k", ":write -z 0 32k", ":write -z -u 64k 64k", ":discard 0 128k",
    ":write 63M 1M", ":zero 1M 4k", ":discard 1000 1", ":write -P 7 100 5", ":zero -u 1M 2M",
  ]

  @Test func undoAndRedoByteForByte() throws {
    let test = try FileCase()
    var states = [try test.shown()]
    for line in Self.lines {
      let before = test.explorer.session.generation
      try ScriptRunner.run(line, on: test.explorer)
      // A discard of no whole cluster changes nothing and is no step.
      if test.explorer.session.generation > before { states.append(try test.shown()) }
    }
    #expect(states.count >= 9)
    for state in states.dropLast().reversed() {
      try ScriptRunner.run("u", on: test.explorer)
      #expect(try test.shown() == state)
    }
    #expect(throws: ScriptError.self) { try ScriptRunner.run("u", on: test.explorer) }
    for state in states.dropFirst() {
      try ScriptRunner.run("C-r", on: test.explorer)
      #expect(try test.shown() == state)
    }
    #expect(throws: ScriptError.self) { try ScriptRunner.run("C-r", on: test.explorer) }
    try ScriptRunner.run(":undo 3\n:redo 2", on: test.explorer)
    #expect(try test.shown() == states[states.count - 2])
    // The file has not seen any of it.
    #expect(try test.file.contents() == states[0])
  }

  /// The same operation after undo takes the same clusters: the allocator is put back too.
  @Test func repeatedAfterUndo() throws {
    let test = try FileCase()
    try ScriptRunner.run(":write 5M 1M", on: test.explorer)
    let first = try test.shown()
    try ScriptRunner.run("u\n:write 5M 1M", on: test.explorer)
    #expect(try test.shown() == first)
  }

  @Test(arguments: ["w", "D", "z"]) func dialogsChangeNothingBeforeEnter(_ key: String) throws {
    let test = try FileCase()
    let before = try test.shown()
    let state = test.explorer.session.image.session
    try ScriptRunner.run(key, on: test.explorer)
    #expect(test.explorer.isInDialog)
    #expect(test.explorer.canvas().text().contains("What would happen"))
    #expect(try test.shown() == before)
    #expect(test.explorer.session.image.session == state)
    try ScriptRunner.run("Esc", on: test.explorer)
    #expect(!test.explorer.isInDialog)
    #expect(try test.shown() == before && test.explorer.session.generation == 0)
  }

  /// What the dialog promises is what Enter does.
  @Test func dialogWrites() throws {
    let test = try FileCase()
    try ScriptRunner.run(
      ":goto 5M\nw\nBackspace Backspace Backspace\ntype 130k\nTab\nC-u\ntype 0x42", on: test.explorer)
    let text = test.explorer.canvas().text()
    #expect(text.contains("3 clusters new, 0 clusters freed"))
    #expect(text.contains("3 L2 entries change, 3 refcounts"))
    try ScriptRunner.run("Enter\n:read -P 0x42 5M 130k", on: test.explorer)
    #expect(test.explorer.session.generation == 1)
    #expect(test.explorer.message?.contains("every byte is 0x42") == true)
  }

  @Test func discardDialogSaysWhatIsRoundedAway() throws {
    let test = try FileCase()
    try ScriptRunner.run("D\nS-Tab\nC-u\ntype 1k\nTab\nC-u\ntype 64k", on: test.explorer)
    #expect(test.explorer.canvas().text().contains("rounded away: all of it"))
    try ScriptRunner.run("C-u\ntype 100k", on: test.explorer)
    #expect(test.explorer.canvas().text().contains("rounded away"))
  }

  @Test func saveRefusesWhenTheFileChanged() throws {
    let test = try FileCase()
    try ScriptRunner.run(":write 5M 64k", on: test.explorer)
    let before = try test.file.contents()
    for identity in [
      MemoryFiles.identity(size: 2), MemoryFiles.identity(size: 1, inode: 2),
      MemoryFiles.identity(size: 1, modified: 5), nil,
    ] {
      test.files.currentIdentity = identity
      #expect(throws: ScriptError.self) { try ScriptRunner.run(":w", on: test.explorer) }
      #expect(test.explorer.message?.contains("not saved") == true)
      #expect(test.explorer.message?.contains(":w FILE") == true)
      #expect(try test.file.contents() == before)
    }
    // A copy is always possible.
    try ScriptRunner.run(":w copy", on: test.explorer)
    #expect(try test.files.copies["copy"]?.contents() == test.shown())
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":w copy", on: test.explorer) }
    try ScriptRunner.run(":w! copy", on: test.explorer)
    test.files.currentIdentity = MemoryFiles.identity(size: 1)
    try ScriptRunner.run(":w", on: test.explorer)
    #expect(try test.file.contents() == test.shown())
    #expect(!test.explorer.session.hasUnsavedChanges)
  }

  @Test func savedThenUndoneThenSaved() throws {
    let test = try FileCase()
    let original = try test.file.contents()
    try ScriptRunner.run(":write 5M 64k\n:w\nu\n:w", on: test.explorer)
    #expect(try test.file.contents() == original)
  }

  @Test func writingThroughSavesEveryOperation() throws {
    let test = try FileCase(mode: .readWrite)
    #expect(test.explorer.canvas().rowText(0).contains("[rw]"))
    try ScriptRunner.run(":write 5M 64k", on: test.explorer)
    #expect(try test.file.contents() == test.shown())
    try ScriptRunner.run("u", on: test.explorer)
    #expect(try test.file.contents() == test.shown())
  }

  @Test func readOnlyRefuses() throws {
    let test = try FileCase(mode: .readOnly)
    #expect(test.explorer.canvas().rowText(0).contains("[ro]"))
    for line in [":write 0 4k", "w", ":discard 0 64k", ":w"] {
      #expect(throws: ScriptError.self) { try ScriptRunner.run(line, on: test.explorer) }
    }
    try ScriptRunner.run(":read 0 4k", on: test.explorer)
    #expect(test.explorer.session.generation == 0)
  }

  @Test func quitAsksForUnsavedChanges() throws {
    let test = try FileCase()
    try ScriptRunner.run(":write 5M 64k", on: test.explorer)
    #expect(test.explorer.performLine(":q").isEmpty)
    #expect(test.explorer.messageIsError)
    #expect(test.explorer.handle(.key(.character("q"))).isEmpty)
    #expect(test.explorer.handle(.key(.escape)).isEmpty)
    #expect(test.explorer.performLine(":q!") == [.quit])
    #expect(test.explorer.performLine(":wq") == [.quit])
    #expect(try test.file.contents() == test.shown())
  }

  @Test func givenUpWorkChangesNothing() throws {
    let test = try FileCase()
    let before = try test.shown()
    let state = test.explorer.session.image.session
    test.files.cancelAfter = 2
    // 64 MiB is one request; the disk is no larger, so a read in pieces stands for long work.
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":read 0 64M", on: test.explorer) }
    #expect(test.explorer.message?.contains("given up") == true)
    #expect(try test.shown() == before && test.explorer.session.image.session == state)
  }

  @Test(arguments: [
    (":write", "needs OFF and LEN"), (":write 5M", "needs OFF and LEN"), (":write 0 0", "at least 1"),
    (":write -x 0 1", "no option -x"), (":write -P 300 0 1", "not a byte"), (":write -u 0 1", "only with -z"),
    (":write -P 1 -z 0 1", "together"), (":write 64M 1", "behind the end"),
    (":write 0x3ffffff 2", "behind the end"),
    (":goto nowhere", "not a place"), (":goto 1T", "behind the end"), (":goto L2 0", "2 numbers"),
    (":nonsense", "no command"),
    (":l", "could be"), (":undo! 3", "no '!' form"), (":lens colour", "not a lens"),
    (":zoom 3k", "power of two"),
    (":help gibberish", "no help"), (":write 9999999999999999999999 1", "too large"),
    (":write \"0 1", "inside quotes"),
    (":goto L1 99", "there is no L1[99]"), (":set speed", "not a setting"), ("~", "not a key here"),
  ])
  func errorsAreSentences(_ line: String, _ part: String) throws {
    let explorer = try demoExplorer()
    let before = explorer.session.generation
    do {
      try ScriptRunner.run("# first\n" + line, on: explorer)
      Issue.record("\(line) was accepted")
    } catch {
      #expect(error.line == 2 && error.message.contains(part), "\(error)")
    }
    #expect(explorer.session.generation == before)
  }
}
