// Keys, clicks, sizes, pastes and commands in any order, on images of every kind: no trap, no cell that is not
// drawn, nothing on the screen that a terminal would take for an order, and the file as it was.
//
// QATLAS_KEYS changes how many events there are, QATLAS_SEED the first seed.

import CellScreen
import Explorer
import ExplorerSupport
import Foundation
import Qcow
import Storage
import TestSupport
import Testing

/// What a person at the keyboard does who does not know the program.
private struct KeyStorm {
  var random: SplitMix64
  /// The keys that mean something, by context.
  private var keys: [Context: [Key]] = [:]

  init(seed: UInt64) { random = SplitMix64(seed: seed) }

  private static let everyKey = Array(
    Set(CommandTable.all.flatMap { $0.keys.flatMap(\.keys) })
  ).sorted { $0.notation < $1.notation }
  private static let editing: [Key] = [
    .enter, .escape, .tab, .backTab, .backspace, .up, .down, .left, .right, .home, .end, .pageUp, .pageDown,
    Key(.delete), Key(.function(1)), .control("u"), .control("r"), .control("s"), .control("w"), .enter, .tab,
  ]
  private static let sizes = [(40, 12), (60, 15), (80, 24), (120, 40), (200, 60), (39, 11), (1, 1), (133, 7)]
  private static let words = [
    "0", "64k", "1M", "0x10000", "5000", "host", "end", "l2", "next", "data", "-P", "0xcd", "one", "b", "now",
    "on", "off", "?", "x 514649fb", "\"a", "snapshot", "generation 1", "layer 1", "kind", "order", "owner",
    "age",
    "18446744073709551615", "-1", "16E", "80x24", "pinned", "\u{202e}", "a.qcow2", "z",
  ]

  private mutating func key(in context: Context) -> Key {
    if keys[context] == nil {
      keys[context] = KeyStorm.everyKey.filter { KeyMap.standard.meaning(of: $0, in: context) != nil }
    }
    return keys[context]?.randomElement(using: &random) ?? .escape
  }

  /// A command of the table with words that may or may not fit.
  mutating func line() -> String {
    let spec = CommandTable.all.randomElement(using: &random) ?? CommandTable.all[0]
    var line = ":" + spec.name + (random.below(9) == 0 ? "!" : "")
    for _ in 0..<random.below(4) { line += " " + (KeyStorm.words.randomElement(using: &random) ?? "") }
    return line
  }

  mutating func event(_ explorer: Explorer) -> InputEvent {
    let isTyping = explorer.isPrompting || explorer.isInDialog
    switch random.below(100) {
    case 0..<8:
      let kinds: [Mouse.Kind] = [.press, .press, .press, .doubleClick, .release, .wheelUp, .wheelDown]
      let canvas = explorer.canvas()
      return .mouse(
        Mouse(
          x: Int(random.below(UInt64(canvas.width + 2))), y: Int(random.below(UInt64(canvas.height + 2))),
          button: random.below(8) == 0 ? .right : .left, kind: kinds.randomElement(using: &random) ?? .press))
    case 8..<10:
      let size = KeyStorm.sizes.randomElement(using: &random) ?? (80, 24)
      return .resize(width: size.0, height: size.1)
    case 10: return .paste(KeyStorm.words.randomElement(using: &random) ?? "")
    case 11: return .resumed
    case 12..<(isTyping ? 50 : 20): return .key(KeyStorm.editing.randomElement(using: &random) ?? .enter)
    case 0..<(isTyping ? 90 : 26):
      return .key(.character(Unicode.Scalar(UInt8(0x20 + random.below(0x5f)))))
    default: return .key(key(in: explorer.context))
    }
  }
}

@Suite(.tags(.campaign)) struct KeyStormTests {
  @Test("a storm of keys leaves pictures whole and files as they were", arguments: ScreenKindOfImage.all)
  func storm(_ kind: ScreenKindOfImage) throws {
    let number = UInt64(ScreenKindOfImage.all.firstIndex { $0.name == kind.name } ?? 0)
    let kinds = UInt64(ScreenKindOfImage.all.count)
    let count = Int(try environmentNumber("QATLAS_KEYS", default: 1200) / kinds + 1)
    let seed = try environmentNumber("QATLAS_SEED", default: 1) &* 1000 + number
    let folder = try ImageFolder(kind)
    let before = try Data(contentsOf: URL(fileURLWithPath: folder.path))
    var storm = KeyStorm(seed: seed)
    var recent: [String] = []
    var screens: [String: Int] = [:]
    var done = 0
    while done < count {
      // Nothing can be saved: the files of this host are in memory, and the image is none of them.
      let files = MemoryFiles()
      files.cancelAfter = 40
      let explorer = try folder.explorer(
        storm.random.below(4) == 0 ? .readOnly : .scratch, files,
        glyphs: storm.random.below(2) == 0 ? .ascii : .unicode)
      let end = min(count, done + 700)
      opened: while done < end {
        done += 1
        let effects: [Effect]
        if storm.random.below(12) == 0 {
          let line = storm.line()
          recent.append(line)
          effects = explorer.performLine(line)
        } else {
          let event = storm.event(explorer)
          recent.append("\(event)")
          effects = explorer.handle(event)
        }
        if recent.count > 40 { recent.removeFirst(20) }
        if storm.random.below(3) == 0 { _ = explorer.scan(budgetNanoseconds: 300_000) }
        if explorer.isAnimating { explorer.beginFrame() }
        screens[explorer.screen.name, default: 0] += 1
        let canvas = explorer.canvas()
        if let fault = canvas.fault {
          Issue.record(
            """
            \(kind.name), seed \(seed), event \(done), \(explorer.screen.name) at \(canvas.width)x\(canvas.height): \
            \(fault), behind \(recent)
            """)
          return
        }
        files.forgetQuestions()
        if effects.contains(.quit) { break opened }
      }
    }
    #expect(try Data(contentsOf: URL(fileURLWithPath: folder.path)) == before)
    // What is not reached tests nothing.
    if count >= 2000 { #expect(screens.count > 10, "\(screens)") }
  }
}
