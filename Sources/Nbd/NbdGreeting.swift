// What is settled with a server before its disk is used: the fixed newstyle negotiation, from the side of who asks.
// Everything that a server sends here is bounded, in length, in number and in time.

import Glibc

/// What a server said of its disk.
struct NbdTerms {
  /// Bytes of the disk.
  var length: UInt64 = 0
  var abilities: NbdAbilities = []
  /// Requests begin and end at multiples of it, a power of two; the end of the disk is one as well.
  var smallest: UInt64 = 1
  /// Bytes of a request.
  var largest: UInt64 = 32 << 20
  var hasStructuredReplies = false
  /// The number under which the server tells what is allocated; nil if it does not.
  var allocation: UInt32?
}

/// Talks to one server until its disk can be used.
struct NbdGreeting {
  /// Bytes of an answer.
  private static let longest = 64 << 10
  /// Answers to one option.
  private static let mostAnswers = 256
  private static let allocationName = "base:allocation"

  private let socket: NbdSocket
  private let input: ByteQueue
  private let output: ByteQueue
  private let export: [UInt8]
  private let deadline: ContinuousClock.Instant
  private var terms = NbdTerms()

  /// `patience` is the time for all of it.
  init(_ socket: NbdSocket, _ input: ByteQueue, _ output: ByteQueue, export: [UInt8], patience: Duration) {
    self.socket = socket
    self.input = input
    self.output = output
    self.export = export
    deadline = .now + patience
  }

  /// - Throws: ``ConnectionEnd``; `broken` has a sentence for what the server does not want as well.
  mutating func run() throws(ConnectionEnd) -> NbdTerms {
    try need(16)
    guard input.number(0, 8) == NbdMagic.server else { throw .broken("it is no NBD server") }
    guard input.number(8, 8) == NbdMagic.option else { throw .broken("it knows the old negotiation alone") }
    input.drop(16)
    try need(2)
    let flags = input.number(0, 2)
    input.drop(2)
    guard flags & 1 != 0 else { throw .broken("it knows the old negotiation alone") }
    // Fixed newstyle, and no zeroes behind the old way to choose a disk if it can do without.
    output.append(UInt32(flags & 2) | 1)
    try ask(NbdOption.structuredReply, [])
    terms.hasStructuredReplies = try answers(NbdOption.structuredReply) { _, _ in true } == NbdAnswer.ack
    if terms.hasStructuredReplies { try chooseContext() }
    try ask(NbdOption.go, Self.counted(export) + [0, 1, 0, UInt8(NbdInfo.blockSize)])
    var told = terms
    var hasSize = false
    let end = try answers(NbdOption.go) { kind, data in
      guard kind == NbdAnswer.info else { return false }
      return Self.take(data, &told, &hasSize)
    }
    terms = told
    switch end {
    case NbdAnswer.ack:
      guard hasSize else { throw .broken("it did not tell the size of the disk") }
    case NbdAnswer.unsupported: try nameExport(hasZeroes: flags & 2 == 0)
    default: throw .broken(refusal(end))
    }
    try check()
    return terms
  }

  private func check() throws(ConnectionEnd) {
    guard terms.length <= UInt64(Int64.max) else { throw .broken("it has a disk of \(terms.length) bytes") }
    guard terms.smallest.nonzeroBitCount == 1, terms.smallest <= 64 << 10, terms.largest >= 64 << 10 else {
      throw .broken(
        "requests of \(terms.smallest) to \(terms.largest) bytes, as it wants them, are not made here")
    }
  }

  /// Waits until so many bytes are there.
  private func need(_ count: Int) throws(ConnectionEnd) {
    while input.count < count {
      let left = deadline - .now
      guard left > .zero else { throw .late }
      let milliseconds = left.components.seconds * 1000 + left.components.attoseconds / 1_000_000_000_000_000
      try socket.receive(into: input, least: count - input.count, timeout: Int32(clamping: milliseconds) + 1)
    }
  }

  private func ask(_ option: UInt32, _ data: [UInt8]) throws(ConnectionEnd) {
    output.append(NbdMagic.option)
    output.append(option)
    output.append(UInt32(data.count))
    output.append(data)
    try socket.send(output)
  }

  /// The words of the last refusal.
  private var lastWords = ""

  /// Takes the answers to an option up to the last, whose kind it returns; `take` gets those in between and says
  /// whether they make sense.
  private mutating func answers(
    _ option: UInt32, _ take: (UInt32, [UInt8]) -> Bool
  ) throws(ConnectionEnd) -> UInt32 {
    for _ in 0..<Self.mostAnswers {
      try need(20)
      guard input.number(0, 8) == NbdMagic.optionReply, input.number(8, 4) == UInt64(option) else {
        throw .broken("no answer where one is due")
      }
      let kind = UInt32(truncatingIfNeeded: input.number(12, 4))
      let length = Int(input.number(16, 4))
      guard length <= Self.longest else { throw .broken("an answer of \(length) bytes") }
      input.drop(20)
      try need(length)
      let data = unsafe Array(input.bytes.prefix(length))
      input.drop(length)
      if kind == NbdAnswer.ack { return kind }
      if kind & 1 << 31 != 0 {
        lastWords = NbdAddress.plainWords(data.prefix(256))
        return kind
      }
      guard take(kind, data) else { throw .broken("an answer that does not fit") }
    }
    throw .broken("more than \(Self.mostAnswers) answers to one option")
  }

  private func refusal(_ kind: UInt32) -> String {
    switch kind {
    case NbdAnswer.unknown: "it has no export '\(NbdAddress.plainWords(export))'"
    case NbdAnswer.tlsRequired: "it wants TLS. \(NbdAddress.tlsAdvice)"
    default:
      "it refuses the export '\(NbdAddress.plainWords(export))'" + (lastWords.isEmpty ? "" : ": \(lastWords)")
    }
  }

  /// A length in four bytes in front of bytes.
  private static func counted(_ bytes: [UInt8]) -> [UInt8] {
    let count = UInt32(truncatingIfNeeded: bytes.count)
    return (0..<4).map { UInt8(truncatingIfNeeded: count >> UInt32(24 - 8 * $0)) } + bytes
  }

  private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    bytes.reduce(0) { $0 << 8 | UInt64($1) }
  }

  private mutating func chooseContext() throws(ConnectionEnd) {
    try ask(
      NbdOption.setMetaContext,
      Self.counted(export) + [0, 0, 0, 1] + Self.counted(Array(Self.allocationName.utf8)))
    var number: UInt32?
    let end = try answers(NbdOption.setMetaContext) { kind, data in
      guard kind == NbdAnswer.metaContext, data.count >= 4 else { return false }
      if data[4...].elementsEqual(Self.allocationName.utf8) {
        number = UInt32(truncatingIfNeeded: Self.number(data[..<4]))
      }
      return true
    }
    terms.allocation = end == NbdAnswer.ack ? number : nil
  }

  /// A fact of the disk; false if it makes no sense.
  private static func take(_ data: [UInt8], _ terms: inout NbdTerms, _ hasSize: inout Bool) -> Bool {
    guard data.count >= 2 else { return false }
    switch UInt16(truncatingIfNeeded: number(data[..<2])) {
    case NbdInfo.export:
      guard data.count == 12 else { return false }
      terms.length = number(data[2..<10])
      terms.abilities = NbdAbilities(rawValue: UInt16(truncatingIfNeeded: number(data[10...])))
      hasSize = true
    case NbdInfo.blockSize:
      guard data.count == 14 else { return false }
      terms.smallest = number(data[2..<6])
      terms.largest = number(data[10..<14])
    default: break
    }
    return true
  }

  /// The old way to choose a disk, of which a server has no answer but to leave.
  private mutating func nameExport(hasZeroes: Bool) throws(ConnectionEnd) {
    output.append(NbdMagic.option)
    output.append(NbdOption.exportName)
    output.append(UInt32(export.count))
    output.append(export)
    try socket.send(output)
    let count = 10 + (hasZeroes ? 124 : 0)
    do throws(ConnectionEnd) { try need(count) } catch {
      throw error == .left ? .broken("it has no export '\(NbdAddress.plainWords(export))'") : error
    }
    terms.length = input.number(0, 8)
    terms.abilities = NbdAbilities(rawValue: UInt16(truncatingIfNeeded: input.number(8, 2)))
    input.drop(count)
  }
}
