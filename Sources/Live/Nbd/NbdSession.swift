// One client that uses the disk: its requests as they come, and their answers.

import Glibc
import Nbd
import Qcow
import QcowFormat

/// Serves one client after its handshake. All requests that have come are done under one hold of the disk and answered
/// in one piece; nothing is sent and nothing is waited for while the disk is held, so that a client that does not read
/// delays nobody else. It is read no further until its answers are gone, which bounds what is kept for it.
struct NbdSession {
  /// Bytes of a request.
  static let longestRequest = 32 << 20
  /// Answers of more bytes are sent before further requests are done.
  private static let muchOutput = 1 << 20
  /// Requests that are done under one hold.
  private static let mostAtOnce = 128
  private static let headerLength = 28

  private let socket: NbdSocket
  private let input: ByteQueue
  private let output: ByteQueue
  private let export: NbdExport
  private let agreement: Agreement
  private let number: UInt32

  init(
    _ socket: NbdSocket, _ input: ByteQueue, _ output: ByteQueue, _ export: NbdExport,
    _ agreement: Agreement,
    number: UInt32
  ) {
    self.socket = socket
    self.input = input
    self.output = output
    self.export = export
    self.agreement = agreement
    self.number = number
  }

  /// A request without what is to be written.
  private struct Request {
    var flags: NbdFlags
    /// Nil for a number that stands for nothing.
    var command: NbdCommand?
    var cookie: UInt64
    var offset: UInt64
    var length: UInt64

    /// The bytes that follow.
    var payload: Int { command == .write ? Int(length) : 0 }
  }

  /// Serves until the client leaves.
  ///
  /// - Throws: ``ConnectionEnd``, always in the end.
  func run() throws(ConnectionEnd) -> Never {
    while true {
      try waitForRequest()
      var end: ConnectionEnd?
      export.disk.locked(by: number) { disk in
        var count = 0
        do throws(ConnectionEnd) {
          while count < Self.mostAtOnce, output.count < Self.muchOutput, let request = try next() {
            count += 1
            guard request.command != .disconnect else { throw .left }
            answer(request, disk)
            input.drop(Self.headerLength + request.payload)
          }
        } catch { end = error }
      }
      // What was done is answered, also to a client that broke the rules afterwards.
      if output.count > 0 { try socket.send(output) }
      if let end { throw end }
    }
  }

  /// Returns when a whole request has come.
  private func waitForRequest() throws(ConnectionEnd) {
    while true {
      if input.count >= Self.headerLength {
        let missing = Self.headerLength + (try header()).payload - input.count
        guard missing > 0 else { return }
        try socket.receive(into: input, least: missing)
      } else {
        try socket.receive(into: input, least: Self.headerLength - input.count)
      }
    }
  }

  /// The next request if it has come whole.
  private func next() throws(ConnectionEnd) -> Request? {
    guard input.count >= Self.headerLength else { return nil }
    let request = try header()
    return input.count >= Self.headerLength + request.payload ? request : nil
  }

  private func header() throws(ConnectionEnd) -> Request {
    guard input.number(0, 4) == UInt64(NbdMagic.request) else { throw .broken("no request where one is due") }
    let request = Request(
      flags: NbdFlags(rawValue: UInt16(truncatingIfNeeded: input.number(4, 2))),
      command: NbdCommand(rawValue: UInt16(truncatingIfNeeded: input.number(6, 2))),
      cookie: input.number(8, 8), offset: input.number(16, 8), length: input.number(24, 4))
    guard request.command != .write || request.length <= UInt64(Self.longestRequest) else {
      throw .broken("a write of \(request.length) bytes")
    }
    return request
  }

  // MARK: Answers

  /// Why a request is not done.
  private struct Refusal: Error {
    var number: UInt32
    var reason: String
  }

  private func answer(_ request: Request, _ disk: SharedDisk.Held) {
    let start = output.count
    do throws(Refusal) {
      let command = try checked(request)
      do throws(ImageError) { try perform(command, request, disk) } catch { throw Self.refusal(error) }
    } catch {
      // Nothing of an answer that came to no end.
      output.cut(to: start)
      fail(request, error)
    }
  }

  private func checked(_ request: Request) throws(Refusal) -> NbdCommand {
    guard let command = request.command else {
      throw Refusal(number: NbdError.invalid, reason: "this request is not known here")
    }
    guard request.flags.isSubset(of: command.flags) else {
      throw Refusal(number: NbdError.invalid, reason: "this request does not have these flags")
    }
    let changes = command == .write || command == .writeZeroes || command == .trim
    guard !changes || export.disk.isWritable else {
      throw Refusal(number: NbdError.notPermitted, reason: "the disk is only read")
    }
    guard command != .flush else { return command }
    let size = export.disk.size
    guard request.offset <= size, request.length <= size - request.offset else {
      throw Refusal(
        number: command == .write || command == .writeZeroes ? NbdError.noSpace : NbdError.invalid,
        reason: "the range ends behind the disk")
    }
    if command == .read, request.length > UInt64(Self.longestRequest) {
      throw Refusal(
        number: NbdError.invalid, reason: "at most \(Self.longestRequest) bytes are read at a time")
    }
    if command == .blockStatus {
      guard !agreement.contexts.isEmpty else {
        throw Refusal(number: NbdError.invalid, reason: "no metadata context was chosen")
      }
      guard request.length > 0 else {
        throw Refusal(number: NbdError.invalid, reason: "no bytes have no state")
      }
    }
    if command == .writeZeroes, request.flags.contains(.fastZero), !isFast(request) {
      throw Refusal(number: NbdError.unsupported, reason: "these zeroes would be written")
    }
    return command
  }

  /// Whether a zero-write changes entries alone.
  private func isFast(_ request: Request) -> Bool {
    let block = UInt64(export.disk.preferredBlock)
    let end = request.offset + request.length
    return export.disk.hasFastZeroes && request.offset % block == 0
      && (end % block == 0 || end == export.disk.size)
  }

  private func perform(
    _ command: NbdCommand, _ request: Request, _ disk: SharedDisk.Held
  ) throws(ImageError) {
    let (offset, length) = (request.offset, request.length)
    switch command {
    case .read:
      let count = Int(length)
      if agreement.hasStructuredReplies {
        begin(request, NbdPiece.data, count + 8)
        output.append(offset)
      } else {
        acknowledge(request)
      }
      let room = unsafe output.room(count)
      unsafe try disk.read(at: offset, into: UnsafeMutableRawBufferPointer(rebasing: room[..<count]))
      output.filled(count)
      return
    case .write:
      let bytes = unsafe input.bytes
      let payload = unsafe UnsafeRawBufferPointer(
        rebasing: bytes[Self.headerLength..<Self.headerLength + request.payload])
      unsafe try disk.write(payload, at: offset)
    case .writeZeroes:
      try disk.writeZeroes(at: offset, count: length, mayUnmap: !request.flags.contains(.noHole))
    case .trim: try disk.discard(at: offset, count: length)
    case .flush: try disk.flush()
    case .blockStatus:
      disk.countStatusQuery()
      try status(request, disk)
      return
    // Nothing has to be read early for it.
    case .cache, .disconnect: break
    }
    if command != .flush, request.flags.contains(.forceUnitAccess) { try disk.flush() }
    acknowledge(request)
  }

  private func status(_ request: Request, _ disk: SharedDisk.Held) throws(ImageError) {
    for (number, context) in agreement.contexts.enumerated() {
      let runs = try context.runs(
        disk, from: request.offset, to: request.offset + request.length,
        onlyFirst: request.flags.contains(.oneExtent))
      begin(
        request, NbdPiece.blockStatus, 4 + 8 * runs.count, isLast: number == agreement.contexts.count - 1)
      output.append(context.rawValue)
      for run in runs {
        output.append(run.length)
        output.append(run.flags)
      }
    }
  }

  private func begin(_ request: Request, _ piece: UInt16, _ length: Int, isLast: Bool = true) {
    output.append(NbdMagic.structuredReply)
    output.append(isLast ? NbdPiece.isLast : 0)
    output.append(piece)
    output.append(request.cookie)
    output.append(UInt32(length))
  }

  private func acknowledge(_ request: Request, _ number: UInt32 = 0) {
    output.append(NbdMagic.simpleReply)
    output.append(number)
    output.append(request.cookie)
  }

  private func fail(_ request: Request, _ refusal: Refusal) {
    guard agreement.hasStructuredReplies else { return acknowledge(request, refusal.number) }
    let reason = Array(refusal.reason.utf8.prefix(1024))
    begin(request, NbdPiece.error, 6 + reason.count)
    output.append(refusal.number)
    output.append(UInt16(reason.count))
    output.append(reason)
  }

  private static func refusal(_ error: ImageError) -> Refusal {
    let number: UInt32 =
      switch error.code {
      case .readOnly: NbdError.notPermitted
      case .invalidRequest, .misaligned, .option: NbdError.invalid
      case .noSpace: NbdError.noSpace
      case .storage where error.errno == ENOSPC || error.errno == EFBIG || error.errno == EDQUOT:
        NbdError.noSpace
      case .storage where error.errno == ENOMEM: NbdError.memory
      case .unsupported: NbdError.unsupported
      default: NbdError.input
      }
    return Refusal(number: number, reason: error.description)
  }
}
