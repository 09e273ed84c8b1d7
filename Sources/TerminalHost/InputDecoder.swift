// Bytes from a terminal become keys, mouse actions and pastes; a value that needs no terminal.
// It knows the sequences of common terminals itself and takes more from terminfo; unknown ones vanish.

package import CellScreen
internal import CSys

/// Decodes terminal input incrementally.
package struct InputDecoder: Sendable {
  /// Whole events that were decoded and not yet taken.
  private var events: [InputEvent] = []
  /// Bytes of an unfinished sequence.
  private var pending: [UInt8] = []
  /// Key sequences that the terminal's description adds.
  private let sequences: [[UInt8]: Key]
  private let longestSequence: Int
  private var pasted: [UInt8]?
  private var lastPress: (mouse: Mouse, time: Int)?
  /// Whether a lone backspace byte (`^H`) is the Backspace key.
  private let controlHIsBackspace: Bool

  /// Time after which two presses on one cell are two clicks, in milliseconds.
  package static let doubleClickTime = 400
  /// The most bytes of one paste that are kept.
  package static let maximumPaste = 1 << 20
  /// Longer control sequences are noise.
  private static let maximumSequence = 64

  /// A decoder for a terminal that sends these sequences for keys, besides the usual ones.
  package init(sequences: [[UInt8]: Key] = [:], controlHIsBackspace: Bool = false) {
    self.sequences = sequences.filter { $0.key.count > 1 && $0.key.first == 0x1b }
    self.controlHIsBackspace = controlHIsBackspace
    longestSequence = self.sequences.keys.reduce(0) { max($0, $1.count) }
  }

  /// How long to wait for the rest of what has begun, in milliseconds; nil if nothing has.
  package var patience: Int? {
    if pasted != nil { return 1000 }
    return pending.isEmpty ? nil : 25
  }

  /// When bytes came last, in milliseconds.
  private var lastFeed = 0

  /// What is left of ``patience`` at a time, so that somebody who only looks in now and then also sees it
  /// end; nil if nothing has begun.
  package func patience(at now: Int) -> Int? { patience.map { max(0, $0 - max(0, now - lastFeed)) } }

  /// Takes the oldest decoded event.
  package mutating func next() -> InputEvent? { events.isEmpty ? nil : events.removeFirst() }

  /// Adds bytes that arrived at a time in milliseconds.
  package mutating func feed(_ bytes: some Sequence<UInt8>, at now: Int) {
    pending.append(contentsOf: bytes)
    lastFeed = now
    decode(at: now, final: false)
  }

  /// Nothing came for ``patience`` milliseconds: what is pending is all there will be.
  package mutating func timeout(at now: Int) {
    if pasted != nil {
      // The end mark was lost; without this, every later key would be part of the paste.
      pasted?.append(contentsOf: pending)
      pending = []
      finishPaste()
    }
    decode(at: now, final: true)
  }

  /// The last scalars stand for bytes of names; nobody types them, and they must not pass for such bytes.
  private static func isTyped(_ scalar: Unicode.Scalar) -> Bool { scalar.value < CSYS_RAW_BYTES + 0x80 }

  // MARK: Decoding

  private enum Step {
    case more
    /// So many bytes are done; the event may be nil for noise.
    case done(Int, InputEvent?)
  }

  private mutating func decode(at now: Int, final: Bool) {
    var position = 0
    while position < pending.count {
      if pasted != nil {
        guard let used = takePaste(from: position) else { break }
        position += used
        continue
      }
      switch step(pending[position...], final: final) {
      case .more:
        pending.removeFirst(position)
        return
      case .done(let used, let event):
        position += max(1, used)
        if let event { deliver(event, at: now) }
      }
    }
    pending.removeFirst(min(position, pending.count))
  }

  private mutating func deliver(_ event: InputEvent, at now: Int) {
    guard case .mouse(var mouse) = event, mouse.kind == .press else {
      events.append(event)
      return
    }
    if let last = lastPress, last.mouse == mouse, now - last.time <= InputDecoder.doubleClickTime {
      lastPress = nil
      mouse.kind = .doubleClick
    } else {
      lastPress = (mouse, now)
    }
    events.append(.mouse(mouse))
  }

  private mutating func step(_ bytes: ArraySlice<UInt8>, final: Bool) -> Step {
    guard let first = bytes.first else { return .more }
    guard first == 0x1b else { return plain(bytes, final: final) }
    if let step = described(bytes) { return step }
    guard let second = bytes.dropFirst().first else {
      return final ? .done(1, .key(.escape)) : .more
    }
    switch second {
    case 0x5b: return controlSequence(bytes, final: final)
    case 0x4f: return singleShift(bytes, final: final)
    case 0x1b:
      // Two escapes: the first is the key unless the second begins a sequence (Alt and an arrow).
      if bytes.count == 2 && !final { return .more }
      if let third = bytes.dropFirst(2).first, third == 0x5b || third == 0x4f {
        switch step(bytes.dropFirst(), final: final) {
        case .more: return .more
        case .done(let used, .key(var key)?) where used > 2:
          key.modifiers.insert(.alt)
          return .done(used + 1, .key(key))
        case .done: break
        }
      }
      return .done(1, .key(.escape))
    default:
      switch plain(bytes.dropFirst(), final: final) {
      case .more: return final ? .done(1, .key(.escape)) : .more
      case .done(let used, .key(var key)?):
        key.modifiers.insert(.alt)
        return .done(used + 1, .key(key))
      case .done(let used, let event): return .done(used + 1, event)
      }
    }
  }

  /// The longest sequence of the terminal's description that these bytes are, or could become.
  private func described(_ bytes: ArraySlice<UInt8>) -> Step? {
    guard longestSequence > 1 else { return nil }
    for length in stride(from: min(longestSequence, bytes.count), through: 2, by: -1) {
      if let key = sequences[Array(bytes.prefix(length))] { return .done(length, .key(key)) }
    }
    return nil
  }

  private func plain(_ bytes: ArraySlice<UInt8>, final: Bool) -> Step {
    guard let byte = bytes.first else { return .more }
    switch byte {
    case 0x00: return .done(1, .key(Key(.character(" "), .control)))
    case 0x08 where controlHIsBackspace: return .done(1, .key(.backspace))
    case 0x09: return .done(1, .key(.tab))
    case 0x0d: return .done(1, .key(.enter))
    case 0x1a: return .done(1, .suspendRequested)
    case 0x1b: return .done(1, .key(.escape))
    case 0x01..<0x1b: return .done(1, .key(.control(Unicode.Scalar(byte + 0x60))))
    case 0x1c..<0x20: return .done(1, .key(.control(Unicode.Scalar(byte + 0x40))))
    case 0x7f: return .done(1, .key(.backspace))
    case 0x20..<0x7f: return .done(1, .key(.character(Unicode.Scalar(byte))))
    default: return multiByte(bytes, final: final)
    }
  }

  private func multiByte(_ bytes: ArraySlice<UInt8>, final: Bool) -> Step {
    let length: Int
    switch bytes.first ?? 0 {
    case 0xc2...0xdf: length = 2
    case 0xe0...0xef: length = 3
    case 0xf0...0xf4: length = 4
    default: return .done(1, nil)
    }
    let sequence = bytes.prefix(length)
    guard sequence.dropFirst().allSatisfy({ $0 & 0xc0 == 0x80 }) else { return .done(1, nil) }
    if sequence.count < length { return final ? .done(sequence.count, nil) : .more }
    let decoded = String(decoding: sequence, as: UTF8.self).unicodeScalars
    guard decoded.count == 1, let scalar = decoded.first, scalar != "\u{fffd}", Self.isTyped(scalar) else {
      return .done(1, nil)
    }
    return .done(length, .key(.character(scalar)))
  }

  // MARK: Escape sequences

  private func singleShift(_ bytes: ArraySlice<UInt8>, final: Bool) -> Step {
    guard let code = bytes.dropFirst(2).first else {
      return final ? .done(2, .key(Key(.character("O"), .alt))) : .more
    }
    if code == 0x4d { return .done(3, .key(.enter)) }
    // The numeric keypad in application mode.
    if (0x6a...0x79).contains(code) {
      return .done(3, .key(.character(Unicode.Scalar(code - 0x40))))
    }
    guard let key = InputDecoder.letterKeys[code] else { return .done(3, nil) }
    return .done(3, .key(Key(key)))
  }

  private static let letterKeys: [UInt8: Key.Code] = [
    0x41: .up, 0x42: .down, 0x43: .right, 0x44: .left, 0x48: .home, 0x46: .end, 0x5a: .backTab,
    0x50: .function(1), 0x51: .function(2), 0x52: .function(3), 0x53: .function(4),
  ]

  private static let numberKeys: [Int: Key.Code] = [
    1: .home, 2: .insert, 3: .delete, 4: .end, 5: .pageUp, 6: .pageDown, 7: .home, 8: .end,
    11: .function(1), 12: .function(2), 13: .function(3), 14: .function(4), 15: .function(5),
    17: .function(6), 18: .function(7), 19: .function(8), 20: .function(9), 21: .function(10),
    23: .function(11), 24: .function(12), 25: .function(13), 26: .function(14), 28: .function(15),
    29: .function(16), 31: .function(17), 32: .function(18), 33: .function(19), 34: .function(20),
  ]

  private mutating func controlSequence(_ bytes: ArraySlice<UInt8>, final: Bool) -> Step {
    let body = bytes.dropFirst(2)
    // The Linux console sends F1 to F5 as `ESC [ [ A` and so on.
    if body.first == 0x5b {
      guard let letter = body.dropFirst().first else { return final ? .done(3, nil) : .more }
      let number = Int(letter) - 0x40
      return .done(4, (1...5).contains(number) ? .key(Key(.function(number))) : nil)
    }
    guard let end = body.firstIndex(where: { !(0x20...0x3f).contains($0) }) else {
      if bytes.count > InputDecoder.maximumSequence { return .done(bytes.count, nil) }
      if final { return body.isEmpty ? .done(2, .key(Key(.character("["), .alt))) : .done(bytes.count, nil) }
      return .more
    }
    let letter = bytes[end]
    let length = end - bytes.startIndex + 1
    guard (0x40...0x7e).contains(letter) else { return .done(length - 1, nil) }
    let text = body[..<end]
    if text.first == 0x3c { return .done(length, sgrMouse(text.dropFirst(), pressed: letter == 0x4d)) }
    if letter == 0x4d && text.isEmpty {
      guard bytes.count >= 6 else { return final ? .done(bytes.count, nil) : .more }
      let at = bytes.startIndex
      return .done(
        6,
        mouse(
          code: Int(bytes[at + 3]) - 32, x: Int(bytes[at + 4]) - 33, y: Int(bytes[at + 5]) - 33,
          pressed: true))
    }
    let numbers = InputDecoder.numbers(text)
    return .done(length, key(letter: letter, numbers: numbers))
  }

  private mutating func key(letter: UInt8, numbers: [Int]) -> InputEvent? {
    let first = numbers.first ?? 0
    let second = numbers.dropFirst().first ?? 1
    let modifiers = InputDecoder.modifiers(second)
    switch letter {
    case 0x7e:
      if first == 200 {
        pasted = []
        return nil
      }
      if first == 27, numbers.count == 3 { return typed(numbers[2], modifiers) }
      return InputDecoder.numberKeys[first].map { .key(Key($0, modifiers)) }
    case 0x75: return typed(first, modifiers)
    default: return InputDecoder.letterKeys[letter].map { .key(Key($0, modifiers)) }
    }
  }

  /// A key that the terminal names by its character code.
  private func typed(_ code: Int, _ modifiers: Key.Modifiers) -> InputEvent? {
    guard let value = UInt32(exactly: code), let scalar = Unicode.Scalar(value), Self.isTyped(scalar) else {
      return nil
    }
    switch code {
    case 9: return .key(modifiers.contains(.shift) ? .backTab : Key(.tab, modifiers))
    case 13: return .key(Key(.enter, modifiers))
    case 27: return .key(Key(.escape, modifiers))
    case 127: return .key(Key(.backspace, modifiers))
    case 0x20...: return .key(Key(.character(scalar), modifiers.subtracting(.shift)))
    default: return nil
    }
  }

  private static func modifiers(_ parameter: Int) -> Key.Modifiers {
    guard (2...16).contains(parameter) else { return [] }
    let bits = parameter - 1
    var modifiers: Key.Modifiers = []
    if bits & 1 != 0 { modifiers.insert(.shift) }
    if bits & 2 != 0 { modifiers.insert(.alt) }
    if bits & 4 != 0 { modifiers.insert(.control) }
    return modifiers
  }

  /// Numbers between semicolons; bounded, so that no digit string overflows.
  private static func numbers(_ text: ArraySlice<UInt8>) -> [Int] {
    text.split(separator: 0x3b, omittingEmptySubsequences: false).map { field in
      field.reduce(0) { (0x30...0x39).contains($1) ? min(0x10ffff, $0 * 10 + Int($1) - 0x30) : $0 }
    }
  }

  // MARK: Mouse and paste

  private func sgrMouse(_ text: ArraySlice<UInt8>, pressed: Bool) -> InputEvent? {
    let numbers = InputDecoder.numbers(text)
    guard numbers.count == 3 else { return nil }
    return mouse(code: numbers[0], x: numbers[1] - 1, y: numbers[2] - 1, pressed: pressed)
  }

  private func mouse(code: Int, x: Int, y: Int, pressed: Bool) -> InputEvent? {
    // Bit 5 is motion, which nobody asked for.
    guard code >= 0, code & 32 == 0, x >= 0, y >= 0 else { return nil }
    if code & 64 != 0 {
      guard pressed, code & 3 < 2 else { return nil }
      return .mouse(Mouse(x: x, y: y, button: .none, kind: code & 3 == 0 ? .wheelUp : .wheelDown))
    }
    let button: Mouse.Button =
      switch code & 3 {
      case 0: .left
      case 1: .middle
      case 2: .right
      default: .none
      }
    return .mouse(Mouse(x: x, y: y, button: button, kind: pressed && button != .none ? .press : .release))
  }

  private static let pasteEnd: [UInt8] = Array("\u{1b}[201~".utf8)

  /// Moves bytes into the paste; nil when the rest may be the beginning of the end mark.
  private mutating func takePaste(from position: Int) -> Int? {
    let rest = pending[position...]
    guard let escape = rest.firstIndex(of: 0x1b) else {
      keep(rest)
      return rest.count
    }
    if escape > position {
      keep(rest[..<escape])
      return escape - position
    }
    let end = InputDecoder.pasteEnd
    if rest.starts(with: end) {
      finishPaste()
      return end.count
    }
    if end.starts(with: rest) { return nil }
    keep(rest.prefix(1))
    return 1
  }

  private mutating func keep(_ bytes: ArraySlice<UInt8>) {
    let room = InputDecoder.maximumPaste - (pasted?.count ?? 0)
    pasted?.append(contentsOf: bytes.prefix(max(0, room)))
  }

  private mutating func finishPaste() {
    guard let bytes = pasted else { return }
    pasted = nil
    var text: [UInt8] = []
    text.reserveCapacity(bytes.count)
    var afterReturn = false
    for byte in bytes {
      // Terminals send line ends of a paste as CR, some as CR LF.
      if byte == 0x0d { text.append(0x0a) } else if !(byte == 0x0a && afterReturn) { text.append(byte) }
      afterReturn = byte == 0x0d
    }
    let scalars = String(decoding: text, as: UTF8.self).unicodeScalars.filter(Self.isTyped)
    events.append(.paste(String(String.UnicodeScalarView(scalars))))
  }
}
