// The words behind `img`: a verb of qemu-img with its options and operands, as far as lessons use them.

import Qcow
import QcowFormat

/// A verb with its words, split into options and operands.
struct ImageWords {
  let verb: String
  private(set) var options: [String: String] = [:]
  /// Options without a value.
  private(set) var flags: Set<String> = []
  /// The values of every `-o`.
  private(set) var lists: [String] = []
  private(set) var operands: [String] = []

  /// Options with a value, of each verb.
  private static let valued: [String: Set<String>] = [
    "create": ["-f", "-b", "-F"], "snapshot": ["-c", "-a", "-d"], "check": ["-r", "-f"],
    "resize": ["-f"], "commit": ["-b", "-f"], "rebase": ["-b", "-F", "-f"], "bitmap": ["-g", "-f"],
    "amend": ["-f"], "pin": [], "unpin": [], "convert": ["-f", "-O"],
  ]

  init(_ words: [String]) throws(LessonProblem) {
    verb = words.first ?? ""
    guard let valued = Self.valued[verb] else { throw LessonProblem("a lesson has no verb '\(verb)'") }
    var rest = Array(words.dropFirst())[...]
    while let word = rest.popFirst() {
      if word == "-o" {
        guard let list = rest.popFirst() else { throw LessonProblem("'-o' needs a value") }
        lists.append(list)
      } else if valued.contains(word) {
        guard let value = rest.popFirst() else { throw LessonProblem("'\(word)' needs a value") }
        options[word] = value
      } else if word.hasPrefix("-") {
        flags.insert(word)
      } else {
        operands.append(word)
      }
    }
  }

  func operand(_ index: Int) throws(LessonProblem) -> String {
    guard operands.indices.contains(index) else { throw LessonProblem("'\(verb)' needs more words") }
    return operands[index]
  }

  /// What the words ask for, and the file that it is done to; nil for a verb that changes no image.
  func change() throws(LessonProblem) -> (file: String, change: any Change)? {
    switch verb {
    case "snapshot":
      let file = try operand(0)
      if let name = options["-c"] { return (file, CreateSnapshot(name)) }
      if let name = options["-a"] { return (file, ApplySnapshot(name)) }
      if let name = options["-d"] { return (file, DeleteSnapshot(name)) }
      throw LessonProblem("'snapshot' needs -c, -a or -d")
    case "resize":
      guard let size = Size.bytes(try operand(1)) else { throw LessonProblem("'\(operands[1])' is no size") }
      return (try operand(0), Resize(.to(size), maySqueeze: flags.contains("--shrink")))
    case "pin": return (try operand(0), Pin())
    case "unpin": return (try operand(0), Unpin())
    case "commit":
      return (try operand(0), CommitDown(keepsImage: flags.contains("-d"), base: options["-b"]))
    case "rebase":
      return (
        try operand(0),
        RebaseOnto(options["-b"], format: options["-F"], onlyName: flags.contains("-u"))
      )
    case "bitmap":
      let (file, name) = (try operand(0), try operand(1))
      if flags.contains("--add") {
        let granularity = options["-g"].flatMap(Size.bytes).map { ByteCount($0) }
        return (file, AddBitmap(name, granularity: granularity))
      }
      if flags.contains("--remove") { return (file, RemoveBitmap(name)) }
      if flags.contains("--clear") { return (file, ClearBitmap(name)) }
      if flags.contains("--enable") { return (file, EnableBitmap(name)) }
      if flags.contains("--disable") { return (file, DisableBitmap(name)) }
      throw LessonProblem("'bitmap' needs --add, --remove, --clear, --enable or --disable")
    default: return nil
    }
  }
}

/// Numbers as people write them in lessons and answers.
package enum Size {
  /// 4096, 0x1000, 4k, 4K, 4 KiB; nil for anything else, and for what no file can have.
  package static func bytes(_ text: String) -> UInt64? {
    let plain = text.filter { $0 != "," && $0 != " " && $0 != "_" }.lowercased()
    if plain.hasPrefix("0x") { return UInt64(plain.dropFirst(2), radix: 16) }
    let digits = plain.prefix { $0.isASCII && $0.isNumber }
    guard let number = UInt64(digits) else { return nil }
    let shift: UInt64
    switch plain.dropFirst(digits.count) {
    case "", "b": shift = 0
    case "k", "kb", "kib": shift = 10
    case "m", "mb", "mib": shift = 20
    case "g", "gb", "gib": shift = 30
    case "t", "tb", "tib": shift = 40
    default: return nil
    }
    let (value, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
    return overflow ? nil : value
  }
}
