// What is settled before a disk is used: the fixed newstyle negotiation. Everything a client sends here is bounded,
// in length, in number and in time.

import Glibc
import Nbd
import QcowFormat

/// What a client and the server have agreed on.
struct Agreement {
  var hasStructuredReplies = false
  /// Chosen for questions for the state of a range.
  var contexts: [StatusContext] = []
}

/// Talks to one client until it uses the disk or leaves.
struct Handshake {
  /// Options of one client.
  private static let mostOptions = 64
  /// Bytes of an option.
  private static let longest = 8192
  /// Seconds for all of it.
  private static let patience = 10

  private let socket: NbdSocket
  private let input: ByteQueue
  private let output: ByteQueue
  private let export: NbdExport
  private let deadline: ContinuousClock.Instant
  private var agreement = Agreement()
  /// The export that the contexts were chosen for.
  private var contextName: [UInt8]?
  private var hasNoZeroes = false

  init(_ socket: NbdSocket, _ input: ByteQueue, _ output: ByteQueue, _ export: NbdExport) {
    self.socket = socket
    self.input = input
    self.output = output
    self.export = export
    deadline = .now + .seconds(Self.patience)
  }

  /// Returns what was agreed on when the client begins to use the disk.
  ///
  /// - Throws: ``ConnectionEnd`` for a client that left or broke the rules.
  mutating func run() throws(ConnectionEnd) -> Agreement {
    output.append(NbdMagic.server)
    output.append(NbdMagic.option)
    // Fixed newstyle, and no zeroes behind the old way to choose a disk.
    output.append(UInt16(3))
    try socket.send(output)
    try need(4)
    let flags = input.number(0, 4)
    input.drop(4)
    guard flags & ~3 == 0 else { throw .broken("client flags 0x\(String(flags, radix: 16))") }
    // Without it nobody can refuse an option.
    guard flags & 1 != 0 else { throw .broken("the old negotiation") }
    hasNoZeroes = flags & 2 != 0
    for _ in 0..<Self.mostOptions {
      try need(16)
      guard input.number(0, 8) == NbdMagic.option else { throw .broken("no option where one is due") }
      let option = UInt32(truncatingIfNeeded: input.number(8, 4))
      let length = Int(input.number(12, 4))
      input.drop(16)
      guard length <= Self.longest else { throw .broken("an option of \(length) bytes") }
      try need(length)
      let data = unsafe Array(input.bytes.prefix(length))
      input.drop(length)
      let isOver = try take(option, data)
      try socket.send(output)
      if isOver { return agreement }
    }
    throw .broken("more than \(Self.mostOptions) options")
  }

  /// Waits until so many bytes are there.
  private func need(_ count: Int) throws(ConnectionEnd) {
    while input.count < count {
      let left = deadline - .now
      guard left > .zero else { throw .late }
      let milliseconds = left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000
      try socket.receive(into: input, least: count - input.count, timeout: Int32(milliseconds) + 1)
    }
  }

  /// Answers an option; true if the disk is used from now on.
  private mutating func take(_ option: UInt32, _ data: [UInt8]) throws(ConnectionEnd) -> Bool {
    switch option {
    case NbdOption.exportName:
      // There is no answer that refuses.
      guard export.isNamed(data) else { throw .broken("an export that there is not") }
      if contextName != data { agreement.contexts = [] }
      output.append(export.disk.size)
      output.append(export.abilities(agreement).rawValue)
      if !hasNoZeroes { output.append([UInt8](repeating: 0, count: 124)) }
      return true
    case NbdOption.abort:
      answer(option, NbdAnswer.ack)
      try? socket.send(output)
      throw .left
    case NbdOption.list:
      guard data.isEmpty else { return refuse(option, NbdAnswer.invalid, "this option has no data") }
      var entry: [UInt8] = []
      BigEndian.append(UInt64(export.name.count), width: 4, to: &entry)
      answer(option, NbdAnswer.server, entry + export.name)
      answer(option, NbdAnswer.ack)
    case NbdOption.info, NbdOption.go: return inform(option, data)
    case NbdOption.structuredReply:
      guard data.isEmpty else { return refuse(option, NbdAnswer.invalid, "this option has no data") }
      agreement.hasStructuredReplies = true
      answer(option, NbdAnswer.ack)
    case NbdOption.listMetaContext, NbdOption.setMetaContext: chooseContexts(option, data)
    default: return refuse(option, NbdAnswer.unsupported, "this option is not known here")
    }
    return false
  }

  private mutating func inform(_ option: UInt32, _ data: [UInt8]) -> Bool {
    var words = OptionWords(data)
    guard let name = words.string(), let count = words.number(2), let asked = words.numbers(Int(count)),
      words.isAtEnd
    else { return refuse(option, NbdAnswer.invalid, "the lengths do not fit") }
    guard export.isNamed(name) else { return refuse(option, NbdAnswer.unknown, "there is no such export") }
    if option == NbdOption.go, contextName != name { agreement.contexts = [] }
    var fact: [UInt8] = []
    func begin(_ kind: UInt16) { fact = []; BigEndian.append(UInt64(kind), width: 2, to: &fact) }
    begin(NbdInfo.export)
    BigEndian.append(export.disk.size, width: 8, to: &fact)
    BigEndian.append(UInt64(export.abilities(agreement).rawValue), width: 2, to: &fact)
    answer(option, NbdAnswer.info, fact)
    begin(NbdInfo.blockSize)
    BigEndian.append(1, width: 4, to: &fact)
    BigEndian.append(
      UInt64(min(export.disk.preferredBlock, UInt32(NbdSession.longestRequest))), width: 4, to: &fact)
    BigEndian.append(UInt64(NbdSession.longestRequest), width: 4, to: &fact)
    answer(option, NbdAnswer.info, fact)
    if asked.contains(UInt64(NbdInfo.name)) {
      begin(NbdInfo.name)
      answer(option, NbdAnswer.info, fact + export.name)
    }
    if asked.contains(UInt64(NbdInfo.description)), !export.description.isEmpty {
      begin(NbdInfo.description)
      answer(option, NbdAnswer.info, fact + Array(export.description.utf8))
    }
    answer(option, NbdAnswer.ack)
    return option == NbdOption.go
  }

  private mutating func chooseContexts(_ option: UInt32, _ data: [UInt8]) {
    let chooses = option == NbdOption.setMetaContext
    if chooses { (agreement.contexts, contextName) = ([], nil) }
    guard !chooses || agreement.hasStructuredReplies else {
      _ = refuse(option, NbdAnswer.invalid, "structured replies come first")
      return
    }
    var words = OptionWords(data)
    var queries: [[UInt8]] = []
    guard let name = words.string(), let count = words.number(4) else {
      _ = refuse(option, NbdAnswer.invalid, "the lengths do not fit")
      return
    }
    // Each takes four bytes at least, so that their number is bounded by the length.
    for _ in 0..<min(count, UInt64(Self.longest)) {
      guard let query = words.string() else { break }
      queries.append(query)
    }
    guard queries.count == count, words.isAtEnd else {
      _ = refuse(option, NbdAnswer.invalid, "the lengths do not fit")
      return
    }
    guard export.isNamed(name) else {
      _ = refuse(option, NbdAnswer.unknown, "there is no such export")
      return
    }
    let found = StatusContext.allCases.filter { context in
      chooses
        ? queries.contains { context.isChosen(by: $0) }
        : queries.isEmpty || queries.contains { context.isListed(by: $0) }
    }
    if chooses { (agreement.contexts, contextName) = (found, name) }
    for context in found {
      var entry: [UInt8] = []
      BigEndian.append(UInt64(context.rawValue), width: 4, to: &entry)
      answer(option, NbdAnswer.metaContext, entry + Array(context.name.utf8))
    }
    answer(option, NbdAnswer.ack)
  }

  private func answer(_ option: UInt32, _ kind: UInt32, _ data: [UInt8] = []) {
    output.append(NbdMagic.optionReply)
    output.append(option)
    output.append(kind)
    output.append(UInt32(data.count))
    output.append(data)
  }

  /// Always false: the handshake goes on.
  private func refuse(_ option: UInt32, _ kind: UInt32, _ reason: String) -> Bool {
    answer(option, kind, Array(reason.utf8))
    return false
  }
}

/// Reads the data of an option.
private struct OptionWords {
  private let bytes: [UInt8]
  private var at = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var isAtEnd: Bool { at == bytes.count }

  mutating func number(_ width: Int) -> UInt64? {
    guard bytes.count - at >= width else { return nil }
    defer { at += width }
    var value: UInt64 = 0
    for index in 0..<width { value = value << 8 | UInt64(bytes[at + index]) }
    return value
  }

  mutating func numbers(_ count: Int) -> [UInt64]? {
    var list: [UInt64] = []
    for _ in 0..<count {
      guard let next = number(2) else { return nil }
      list.append(next)
    }
    return list
  }

  /// A length in four bytes, and so many bytes.
  mutating func string() -> [UInt8]? {
    guard let count = number(4), count <= UInt64(bytes.count - at) else { return nil }
    defer { at += Int(count) }
    return Array(bytes[at..<at + Int(count)])
  }
}
