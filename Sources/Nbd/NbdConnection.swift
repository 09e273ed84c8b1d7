// A connection to a server on which many requests are under way at a time. Answers come in any order, in pieces, and
// from a side that may send anything: every length is checked against what was asked for before it is believed.

import Glibc

/// What became of a request.
@safe enum NbdAnswerOf {
  /// All of its bytes.
  case bytes(UnsafeRawBufferPointer)
  /// Lengths with the flags of what is there, in order.
  case extents([(length: UInt64, flags: UInt32)])
  /// The number of the protocol, and the words of the server.
  case refused(UInt32, String)
}

/// A request that waits for its answer.
struct NbdRequest {
  var isStatus: Bool
  /// Bytes of the disk.
  var range: Range<UInt64>
  /// Nobody waits for it yet.
  var isHint: Bool
}

/// Sends requests to a server and takes its answers.
package final class NbdConnection {
  /// Requests under way: 32 that a server works on, and some on their way to it or back.
  static let mostUnderWay = 40
  /// Milliseconds of silence after which a server with open requests counts as dead, and for all that is settled
  /// before.
  package static let usualPatience: Int32 = 30_000
  /// Bytes of the pieces that are no data of a request.
  private static let longestPiece = 8 << 20 + 4
  /// Pieces of one answer.
  private static let mostPieces = 65_536

  private let socket: NbdSocket
  private let input: ByteQueue
  private let output: ByteQueue
  let terms: NbdTerms
  private var nextCookie: UInt64 = 1
  private var underWay: [UInt64: Open] = [:]

  /// An open request, with what has come of its answer.
  private struct Open {
    var request: NbdRequest
    var bytes: [UInt8]?
    var missing: UInt64
    var extents: [(length: UInt64, flags: UInt32)] = []
    var refusal: (number: UInt32, words: String)?
    var pieces = 0
  }

  /// Connects and agrees with the server on an export.
  ///
  /// - Throws: ``ConnectionEnd``.
  init(_ address: NbdAddress, patience: Int32) throws(ConnectionEnd) {
    socket = try NbdSocket(address.place, timeout: patience)
    input = ByteQueue(usual: 1 << 20)
    output = ByteQueue(usual: 4096)
    var greeting = NbdGreeting(
      socket, input, output, export: address.export, patience: .milliseconds(Int(patience)))
    terms = try greeting.run()
  }

  deinit {
    // Without requests the server is told; nobody waits for it.
    guard underWay.isEmpty else { return }
    add(.disconnect, 0, 0..<0)
    try? socket.send(output)
  }

  /// Requests that wait for their answers.
  var count: Int { underWay.count }
  var hasRoom: Bool { underWay.count < Self.mostUnderWay }

  /// Puts a request where ``send()`` takes it; its range has at most 2^32 - 1 bytes.
  func ask(_ request: NbdRequest) {
    let cookie = nextCookie
    nextCookie += 1
    let count = UInt64(request.range.count)
    underWay[cookie] = Open(request: request, missing: request.isStatus ? 0 : count)
    add(request.isStatus ? .blockStatus : .read, cookie, request.range)
  }

  private func add(_ command: NbdCommand, _ cookie: UInt64, _ range: Range<UInt64>) {
    output.append(NbdMagic.request)
    output.append(UInt16(0))
    output.append(command.rawValue)
    output.append(cookie)
    output.append(range.lowerBound)
    output.append(UInt32(truncatingIfNeeded: range.upperBound - range.lowerBound))
  }

  /// Sends what was asked for.
  ///
  /// - Throws: ``ConnectionEnd``.
  func send() throws(ConnectionEnd) {
    if output.count > 0 { try socket.send(output) }
  }

  /// Takes the answers that have come, and gives each to `take` when it is whole; waits so many milliseconds at most
  /// for something, be it a part of an answer.
  ///
  /// - Returns: whether something has come.
  /// - Throws: ``ConnectionEnd``.
  func receive(
    for milliseconds: Int32, _ take: (NbdRequest, NbdAnswerOf) -> Void
  ) throws(ConnectionEnd) -> Bool {
    do throws(ConnectionEnd) {
      try socket.receive(into: input, least: wanted, timeout: milliseconds)
    } catch {
      if error == .late { return false }
      throw error
    }
    while try takePiece(take) {}
    return true
  }

  /// Bytes of the piece that has begun, as far as they are known and have not come.
  private var wanted: Int {
    guard input.count >= 20, input.number(0, 4) == UInt64(NbdMagic.structuredReply) else { return 64 << 10 }
    return max(64 << 10, min(Int(input.number(16, 4)), Self.longestPiece) + 20 - input.count)
  }

  /// False if no whole piece is there.
  private func takePiece(_ take: (NbdRequest, NbdAnswerOf) -> Void) throws(ConnectionEnd) -> Bool {
    guard input.count >= 16 else { return false }
    let magic = UInt32(truncatingIfNeeded: input.number(0, 4))
    let cookie = input.number(8, 8)
    guard magic == NbdMagic.simpleReply || magic == NbdMagic.structuredReply && terms.hasStructuredReplies
    else {
      throw .broken("no answer where one is due")
    }
    guard let open = underWay[cookie] else { throw .broken("an answer that nobody asked for") }
    if magic == NbdMagic.simpleReply { return try takeSimple(cookie, open, take) }
    guard input.count >= 20 else { return false }
    let length = Int(input.number(16, 4))
    let kind = UInt16(truncatingIfNeeded: input.number(6, 2))
    // An offset in front of data is more than was asked for.
    let most = kind == NbdPiece.data ? Int(clamping: open.missing) + 8 : Self.longestPiece
    guard length <= most else { throw .broken("a piece of \(length) bytes") }
    guard input.count >= 20 + length else { return false }
    let isLast = input.number(4, 2) & UInt64(NbdPiece.isLast) != 0
    input.drop(20)
    try takePiece(kind, length, cookie)
    input.drop(length)
    guard let pieces = underWay[cookie]?.pieces, pieces <= Self.mostPieces else {
      throw .broken("an answer of more than \(Self.mostPieces) pieces")
    }
    if isLast { try finish(cookie, take) }
    return true
  }

  private func takeSimple(
    _ cookie: UInt64, _ open: Open, _ take: (NbdRequest, NbdAnswerOf) -> Void
  ) throws(ConnectionEnd) -> Bool {
    let number = UInt32(truncatingIfNeeded: input.number(4, 4))
    if number != 0 {
      input.drop(16)
      underWay[cookie] = nil
      take(open.request, .refused(number, ""))
      return true
    }
    guard !open.request.isStatus, !terms.hasStructuredReplies else {
      throw .broken("a simple answer where one in pieces is due")
    }
    let count = open.request.range.count
    guard input.count >= 16 + count else { return false }
    input.drop(16)
    underWay[cookie] = nil
    unsafe take(open.request, .bytes(UnsafeRawBufferPointer(rebasing: input.bytes[..<count])))
    input.drop(count)
    return true
  }

  /// A piece of an answer that is there as a whole.
  private func takePiece(_ kind: UInt16, _ length: Int, _ cookie: UInt64) throws(ConnectionEnd) {
    underWay[cookie]?.pieces += 1
    guard let request = underWay[cookie]?.request else { return }
    switch kind {
    case NbdPiece.nothing:
      guard length == 0 else { throw .broken("a piece of \(length) bytes where none are due") }
    case NbdPiece.data:
      guard length > 8, !request.isStatus else { throw .broken("data that was not asked for") }
      let place = try self.place(input.number(0, 8), UInt64(length - 8), request)
      unsafe try fill(cookie, place) { target in
        unsafe target.copyMemory(from: UnsafeRawBufferPointer(rebasing: input.bytes[8..<length]))
      }
    case NbdPiece.hole:
      guard length == 12, !request.isStatus else { throw .broken("a hole that was not asked for") }
      // The bytes are zeroes as they are.
      unsafe try fill(cookie, try place(input.number(0, 8), input.number(8, 4), request)) { _ in }
    case NbdPiece.blockStatus:
      guard request.isStatus, length >= 12, (length - 4) % 8 == 0 else {
        throw .broken("a state that was not asked for")
      }
      if UInt32(truncatingIfNeeded: input.number(0, 4)) == terms.allocation {
        guard underWay[cookie]?.extents.isEmpty == true else { throw .broken("two states of one range") }
        var extents: [(length: UInt64, flags: UInt32)] = []
        for at in stride(from: 4, to: length, by: 8) {
          let count = input.number(at, 4)
          guard count > 0 else { throw .broken("a state of no bytes") }
          extents.append((count, UInt32(truncatingIfNeeded: input.number(at + 4, 4))))
        }
        underWay[cookie]?.extents = extents
      }
    case let kind where kind & 1 << 15 != 0:
      // Every error has a number, and most have words behind it.
      guard length >= 6 else { throw .broken("an error without its number") }
      let count = Int(input.number(4, 2))
      guard count <= length - 6 else { throw .broken("an error whose words do not fit") }
      let words = unsafe NbdAddress.plainWords(input.bytes[6..<6 + min(count, 256)])
      let number = UInt32(truncatingIfNeeded: input.number(0, 4))
      underWay[cookie]?.refusal = (number == 0 ? NbdError.input : number, words)
    default: throw .broken("a piece of the kind \(kind)")
    }
  }

  /// Where bytes lie in those that were asked for.
  private func place(
    _ offset: UInt64, _ count: UInt64, _ request: NbdRequest
  ) throws(ConnectionEnd) -> Range<Int> {
    guard count > 0, request.range.contains(offset), count <= request.range.upperBound - offset else {
      throw .broken("bytes that were not asked for")
    }
    let start = Int(offset - request.range.lowerBound)
    return start..<start + Int(count)
  }

  private func fill(
    _ cookie: UInt64, _ place: Range<Int>, _ body: (UnsafeMutableRawBufferPointer) -> Void
  ) throws(ConnectionEnd) {
    guard var open = underWay.removeValue(forKey: cookie) else { return }
    guard open.missing >= UInt64(place.count) else { throw .broken("more bytes than were asked for") }
    open.missing -= UInt64(place.count)
    var bytes = open.bytes ?? [UInt8](repeating: 0, count: open.request.range.count)
    open.bytes = nil
    unsafe bytes.withUnsafeMutableBytes { unsafe body(UnsafeMutableRawBufferPointer(rebasing: $0[place])) }
    open.bytes = bytes
    underWay[cookie] = open
  }

  /// The last piece of an answer has come.
  private func finish(_ cookie: UInt64, _ take: (NbdRequest, NbdAnswerOf) -> Void) throws(ConnectionEnd) {
    guard let open = underWay.removeValue(forKey: cookie) else { return }
    if let refusal = open.refusal { return take(open.request, .refused(refusal.number, refusal.words)) }
    if open.request.isStatus {
      guard !open.extents.isEmpty else { throw .broken("no state where one was asked for") }
      return take(open.request, .extents(open.extents))
    }
    guard open.missing == 0, let bytes = open.bytes else { throw .broken("fewer bytes than were asked for") }
    unsafe bytes.withUnsafeBytes { unsafe take(open.request, .bytes($0)) }
  }
}
