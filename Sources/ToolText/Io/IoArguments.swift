// The words of a command as options and operands. Scripts have millions of lines, so the letters are bits and bytes.

/// Option letters, which are those of the alphabet.
struct IoFlags {
  private var bits: UInt64 = 0

  private static func bit(_ letter: Unicode.Scalar) -> UInt64 {
    letter.value >= 64 && letter.value < 128 ? 1 << UInt64(letter.value - 64) : 0
  }

  mutating func insert(_ letter: Unicode.Scalar) { bits |= Self.bit(letter) }
  func contains(_ letter: Unicode.Scalar) -> Bool { bits & Self.bit(letter) != 0 }
  func contains(_ one: Unicode.Scalar, and other: Unicode.Scalar) -> Bool {
    contains(one) && contains(other)
  }
}

/// Options with a value, in their order; the last value of a letter counts.
struct IoValues {
  fileprivate(set) var met: [(letter: Unicode.Scalar, value: String)] = []

  subscript(letter: Unicode.Scalar) -> String? { met.last { $0.letter == letter }?.value }
}

/// Words of a command split into options and operands, options anywhere, as getopt does it.
struct IoArguments {
  enum Problem: Equatable {
    case unknown(Character)
    case missingValue(Character)
  }

  private(set) var flags = IoFlags()
  private(set) var values = IoValues()
  private(set) var operands: [String] = []
  private(set) var problem: Problem?
  /// All options, in their order.
  private(set) var order: [Unicode.Scalar] = []

  init(_ words: [String], options: String) {
    guard !options.isEmpty else {
      // Commands without options take words with a dash as they are.
      operands = words
      return
    }
    operands.reserveCapacity(words.count)
    var at = 0
    while at < words.count {
      let word = words[at]
      at += 1
      guard word.utf8.first == UInt8(ascii: "-"), word.utf8.count > 1, Self.standsAlone(word.utf8[...]) else {
        operands.append(word)
        continue
      }
      if word == "--" {
        operands += words[at...]
        return
      }
      var letters = word.utf8.dropFirst()
      while let byte = letters.first {
        guard Self.standsAlone(letters), let takesValue = Self.takesValue(byte, options) else {
          if let letter = Substring(letters).first { problem = .unknown(letter) }
          return
        }
        let letter = Unicode.Scalar(byte)
        letters = letters.dropFirst()
        flags.insert(letter)
        order.append(letter)
        guard takesValue else { continue }
        if !letters.isEmpty {
          values.met.append((letter, String(Substring(letters))))
        } else if at < words.count {
          values.met.append((letter, words[at]))
          at += 1
        } else {
          problem = .missingValue(Character(letter))
          return
        }
        break
      }
    }
  }

  /// The first byte is a character by itself: none of the marks that follow joins it.
  private static func standsAlone(_ text: Substring.UTF8View) -> Bool {
    guard let first = text.first, first < 0x80 else { return false }
    guard let next = text.dropFirst().first, next >= 0x80 else { return true }
    return Substring(text).first == Character(Unicode.Scalar(first))
  }

  /// Whether an option has a value; nil if there is no such option.
  private static func takesValue(_ letter: UInt8, _ options: String) -> Bool? {
    let colon = UInt8(ascii: ":")
    var rest = options.utf8[...]
    while let known = rest.popFirst() {
      if known == letter, letter != colon { return rest.first == colon }
    }
    return nil
  }
}
