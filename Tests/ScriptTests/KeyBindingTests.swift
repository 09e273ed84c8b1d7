// Keys that the user binds: what names a key follows, and what cannot be bound is refused with its place.

import CellScreen
import Explorer
import ExplorerSupport
import TestSupport
import Testing

@Suite(.tags(.fast)) struct KeyBindingTests {
  private func keys(_ lines: String...) throws -> KeyMap {
    try KeyMap(lines.enumerated().map { try KeyBinding($1, at: "config, line \($0 + 1)") })
  }

  private func explorer(_ keys: KeyMap, width: Int = 160, height: Int = 40) throws -> Explorer {
    try demoExplorer(width: width, height: height, keys: keys)
  }

  @Test("footer, hints, help and messages name the bound key, and it works")
  func everythingFollows() throws {
    let bound = try explorer(try keys("key = U undo", "key.table = % fold"))
    _ = try bound.picture("t")
    let table = bound.canvas()
    #expect(table.text().contains("% show/fold unused"), "\(table.text())")
    #expect(table.rowText(38).contains("% fold") && table.rowText(38).contains("U undo"))
    #expect(try bound.picture("size 160x200\n?").contains("U"))
    let lines = bound.canvas().text().split(separator: "\n").map(String.init)
    let row = try #require(lines.first { $0.contains("take the last operation back") })
    #expect(row.split(separator: " ").dropFirst().first == "U", "\(row)")
    _ = try bound.picture("q\nq\n:write 6M 64k")
    #expect(bound.message?.contains("(U takes it back)") == true, "\(bound.message ?? "")")
    let before = bound.session.generation
    _ = try bound.picture("U")
    #expect(bound.session.generation == before - 1)
    // The other keys of the command stay.
    _ = try bound.picture(":redo\nu")
    #expect(bound.session.generation == before - 1)
  }

  @Test("a bound key means nothing else where it is bound, and what it meant elsewhere")
  func takesOver() throws {
    let bound = try explorer(try keys("key.hostMap = t fold"))
    _ = bound.handle(.key(.character("2")))
    bound.forgetCount()
    _ = bound.handle(.key(.character("t")))
    #expect(bound.screen == .explorer)
    _ = bound.handle(.key(.character("1")))
    bound.forgetCount()
    _ = bound.handle(.key(.character("t")))
    #expect(bound.screen == .table)
  }

  @Test("a binding has the words of its command")
  func words() throws {
    let bound = try explorer(try keys("key = F5 goto 5M"))
    _ = try bound.picture("F5")
    #expect(bound.cursor.guest == 5 << 20)
    #expect(Self.error { _ = try KeyBinding("key = F5 goto nowhere", at: "here") }?.place == "here")
  }

  @Test("the key that is named is the one of the place that names it")
  func names() throws {
    let keys = try keys("key.lab = F5 lab-run", "key.table = F5 fold")
    #expect(keys.name(CommandID("fold"), in: .table) == "F5")
    #expect(keys.name(CommandID("lab-run"), in: .lab) == "F5")
    // Where a command has no key, it is named by what is typed.
    #expect(keys.name(CommandID("fold"), in: .hex) == ":fold")
  }

  private static func error(_ body: () throws -> Void) -> KeyBindingError? {
    do { try body() } catch { return error as? KeyBindingError }
    return nil
  }

  @Test("two bindings of one key are refused with the places of both")
  func doubles() throws {
    let error = try #require(
      Self.error { _ = try keys("key = U undo", "key.maps = ~ fold", "key.table = U redo") })
    #expect(error.place == "config, line 3")
    #expect(error.text.contains("U") && error.text.contains("config, line 1"), "\(error.text)")
    // In places that have nothing in common it is two keys.
    _ = try keys("key.lab = U lab-run", "key.table = U fold")
  }

  @Test(
    "wrong lines are refused with the reason",
    arguments: [
      ("key", "written as"), ("key = U", "no command stands behind"), ("key = Hyper undo", "names no key"),
      ("key = U unknown", "no command is called"), ("key.attic = U undo", "names no place of keys"),
      ("key = 5 undo", "digit"), ("key table = U undo", "written as"), ("key = U 5M", "no command"),
      ("key = U undo 1 2", "too many words"),
    ])
  func wrong(_ line: String, _ reason: String) throws {
    let error = try #require(Self.error { _ = try KeyBinding(line, at: "here") })
    #expect(error.place == "here" && error.text.contains(reason), "\(error.text)")
  }

  @Test("the command line and Esc keep a key everywhere")
  func doorsStayOpen() throws {
    #expect(Self.error { _ = try keys("key = : undo") }?.text.contains(":prompt") == true)
    _ = try keys("key.all = ; prompt", "key = : undo")
  }
}
