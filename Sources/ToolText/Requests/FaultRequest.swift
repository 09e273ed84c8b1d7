// The options of `blkdebug`, which lets requests to a file fail: in an option list, in a configuration file, or in the
// short name "blkdebug:CONFIG:FILE".

import Cartography
import Glibc
import Qcow
import Storage

/// Which faults are asked for, and of which file.
struct FaultRequest {
  typealias Refusal = CreateRequest.Refusal

  /// The path of the file itself.
  private(set) var path = ""
  private var configuration = ""
  /// Options of rules, "inject-error.0.event", as they were given.
  private var ruleOptions: [(name: String, value: String)] = []
  private var alignment: UInt64 = 1
  private var longest: UInt64?

  init() {}

  /// The text behind "blkdebug:" of a name.
  init(name: String) throws(Refusal) {
    guard let colon = name.utf8.firstIndex(of: UInt8(ascii: ":")) else {
      throw Refusal(cannotOpen: "blkdebug requires both config file and image path")
    }
    configuration = String(name[..<colon])
    path = String(name[name.utf8.index(after: colon)...])
    if ByteText.starts(path, with: "file:") {
      path = String(path.utf8.dropFirst(5)) ?? ""
    } else if let scheme = LayerName.scheme(of: path) {
      throw Refusal(cannotOpen: "Unknown protocol '\(Escaping.human(scheme))'")
    }
  }

  /// Takes an option by its name below the node of the faults.
  mutating func set(_ name: String, _ value: String) throws(Refusal) {
    switch name {
    case "image.filename": path = value
    case "image.driver":
      guard value == "file" else {
        throw Refusal(cannotOpen: "the protocol '\(Escaping.human(value))' is not supported, only file")
      }
    case "config": configuration = value
    case "align":
      alignment = try Self.size(name, value)
      guard alignment < UInt64(Int32.max), alignment & (alignment &- 1) == 0 else {
        throw Refusal(cannotOpen: "Cannot meet constraints with align \(alignment)")
      }
      alignment = max(1, alignment)
    case "max-transfer": longest = try Self.size(name, value)
    case "opt-write-zero", "max-write-zero", "opt-discard", "max-discard", "take-child-perms",
      "unshare-child-perms":
      throw Refusal(cannotOpen: "the option '\(name)' of blkdebug is not supported")
    case let name where name.hasPrefix("inject-error.") || name.hasPrefix("set-state."):
      ruleOptions.append((name, value))
    default:
      throw Refusal(
        cannotOpen: "Block protocol 'blkdebug' doesn't support the option '\(Escaping.human(name))'")
    }
  }

  /// What is to go wrong; reads the configuration file.
  func plan() throws(Refusal) -> FaultPlan {
    guard !path.isEmpty else { throw Refusal(cannotOpen: "A block device must be specified for \"image\"") }
    var plan = FaultPlan(name: name)
    plan.alignment = alignment
    if let longest, longest > 0 {
      guard longest < UInt64(Int32.max), longest % alignment == 0 else {
        throw Refusal(cannotOpen: "Cannot meet constraints with max-transfer \(longest)")
      }
      plan.longest = longest
    }
    var sections = configuration.isEmpty ? [] : try FaultSections.read(configuration)
    sections += try FaultSections.collected(ruleOptions)
    // The genuine tool takes all faults before all changes of state.
    for kind in ["inject-error", "set-state"] {
      for section in sections where section.kind == kind { plan.rules.append(try rule(section)) }
    }
    return plan
  }

  private func rule(_ section: FaultSections.Section) throws(Refusal) -> FaultPlan.Rule {
    guard let word = section.values["event"] else { throw Refusal(cannotOpen: "Missing event name for rule") }
    guard let moment = Moment(name: word) else {
      throw Refusal(cannotOpen: "invalid parameter value: \(Escaping.human(word))")
    }
    let state = try section.number("state") ?? 0
    guard section.kind == "inject-error" else {
      let next = try section.number("new_state") ?? 0
      return FaultPlan.Rule(
        moment: moment.rawValue, state: Int(clamping: state), .enter(state: Int(clamping: next)))
    }
    var fault = FaultPlan.Fault()
    fault.errno = Int32(truncatingIfNeeded: try section.number("errno") ?? UInt64(EIO))
    fault.isOnce = try section.flag("once")
    // When a request ends makes no difference here, where one is over before the next begins.
    _ = try section.flag("immediately")
    if let sector = try section.number("sector"), sector < 1 << 54 { fault.offset = sector * 512 }
    if let word = section.values["iotype"] { fault.requests = [try Self.request(word)] }
    return FaultPlan.Rule(moment: moment.rawValue, state: Int(clamping: state), .fail(fault))
  }

  private static func request(_ word: String) throws(Refusal) -> FaultPlan.Request {
    switch word {
    case "read": return .read
    case "write": return .write
    case "write-zeroes": return .zero
    case "discard": return .punch
    case "flush": return .flush
    case "block-status":
      throw Refusal(cannotOpen: "the iotype 'block-status' of blkdebug is not supported")
    default: throw Refusal(cannotOpen: "invalid parameter value: \(Escaping.human(word))")
    }
  }

  private static func size(_ name: String, _ value: String) throws(Refusal) -> UInt64 {
    if let size = try? Notation.parse(value) { return size }
    throw Refusal(cannotOpen: "Parameter '\(name)' expects a non-negative number below 2^64")
  }

  // MARK: The name in messages

  /// The short name if it says everything, else the options in the order in which the genuine tool keeps them.
  private var name: String {
    guard !ruleOptions.isEmpty else { return "blkdebug:\(configuration):\(path)" }
    var members = ruleOptions.map { ($0.name, Self.quoted($0.value)) }
    members.append(("image", "{\"driver\": \"file\", \"filename\": \(Self.quoted(path))}"))
    members.append(("driver", "\"blkdebug\""))
    if !configuration.isEmpty { members.append(("config", Self.quoted(configuration))) }
    let sorted = members.sorted { (Self.place($0.0), $0.0) < (Self.place($1.0), $1.0) }
    return "json:{" + sorted.map { "\"\($0.0)\": \($0.1)" }.joined(separator: ", ") + "}"
  }

  private static func quoted(_ text: String) -> String {
    "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
  }

  /// Where the genuine tool keeps an option of that name, of 512 places.
  private static func place(_ name: String) -> UInt32 {
    var value = 0x238f_13af &* UInt32(truncatingIfNeeded: name.utf8.count)
    for (index, byte) in name.utf8.enumerated() { value &+= UInt32(byte) << UInt32(index * 5 % 24) }
    return (1_103_515_243 &* value &+ 12345) % 512
  }
}

/// Rules as sections of names and values.
enum FaultSections {
  typealias Refusal = CreateRequest.Refusal

  struct Section {
    /// "inject-error" or "set-state".
    var kind: String
    var values: [String: String] = [:]

    fileprivate static let known: [String: Set<String>] = [
      "inject-error": ["event", "state", "iotype", "errno", "sector", "once", "immediately"],
      "set-state": ["event", "state", "new_state"],
    ]

    func number(_ name: String) throws(Refusal) -> UInt64? {
      guard let text = values[name] else { return nil }
      let isHex = text.hasPrefix("0x") || text.hasPrefix("0X")
      guard let number = isHex ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text) else {
        throw Refusal(cannotOpen: "Parameter '\(name)' expects a number")
      }
      return number
    }

    func flag(_ name: String) throws(Refusal) -> Bool {
      switch values[name] {
      case nil, "off", "no", "false", "n": return false
      case "on", "yes", "true", "y": return true
      default: throw Refusal(cannotOpen: "Parameter '\(name)' expects 'on' or 'off'")
      }
    }
  }

  /// Options with numbers in their names, "inject-error.0.event", section by section.
  static func collected(_ options: [(name: String, value: String)]) throws(Refusal) -> [Section] {
    var numbered: [(number: Int, section: Section)] = []
    for (name, value) in options {
      let parts = name.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
      guard parts.count == 3, let number = Int(parts[1]) else {
        throw Refusal(
          cannotOpen: "Block protocol 'blkdebug' doesn't support the option '\(Escaping.human(name))'")
      }
      guard Section.known[parts[0]]?.contains(parts[2]) == true else {
        throw Refusal(
          cannotOpen: "[\(parts[0])] section doesn't support the option '\(Escaping.human(parts[2]))'")
      }
      let index = numbered.firstIndex { $0.number == number && $0.section.kind == parts[0] }
      if let index {
        numbered[index].section.values[parts[2]] = value
      } else {
        numbered.append((number, Section(kind: parts[0], values: [parts[2]: value])))
      }
    }
    return numbered.sorted { $0.number < $1.number }.map(\.section)
  }

  /// The sections of a configuration file.
  static func read(_ path: String) throws(Refusal) -> [Section] {
    let bytes: [UInt8]
    do throws(StorageError) {
      let file = try FileOpener().open(path, for: .text)
      bytes = try file.bytes(at: 0, count: Int(min(file.length, 1 << 20)))
    } catch {
      throw Refusal(cannotOpen: "Could not open '\(Escaping.human(path))': \(error.detail)")
    }
    var sections: [Section] = []
    for line in ByteText.text(bytes).split(whereSeparator: \.isNewline) {
      let text = line.drop { $0 == " " || $0 == "\t" }
      if text.isEmpty || text.hasPrefix("#") { continue }
      if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
        // A section may have a name of its own behind its kind.
        let words = text[text.index(after: text.startIndex)..<end].split(separator: " ")
        let kind = String(words.first ?? "")
        guard Section.known[kind] != nil else {
          throw Refusal(cannotOpen: "There is no option group '\(Escaping.human(kind))'")
        }
        sections.append(Section(kind: kind))
        continue
      }
      guard let (name, value) = Self.setting(text) else { throw Refusal(cannotOpen: "parse error") }
      guard let last = sections.indices.last else { throw Refusal(cannotOpen: "no group defined") }
      guard Section.known[sections[last].kind]?.contains(name) == true else {
        throw Refusal(cannotOpen: "Invalid parameter '\(Escaping.human(name))'")
      }
      sections[last].values[name] = value
    }
    return sections
  }

  /// `name = "value"`.
  private static func setting(_ line: Substring) -> (name: String, value: String)? {
    guard let equals = line.firstIndex(of: "=") else { return nil }
    let name = line[..<equals].split(separator: " ").joined()
    let rest = line[line.index(after: equals)...].drop { $0 == " " || $0 == "\t" }
    guard rest.hasPrefix("\"") else { return nil }
    let inside = rest.dropFirst()
    guard let end = inside.firstIndex(of: "\""), !name.isEmpty else { return nil }
    return (name, String(inside[..<end]))
  }
}
