// Guest requests as the explorer sends them: cut into pieces, so that Esc is heard between them, and reads
// with what they found.

import Cartography
import Qcow
import QcowFormat
import Storage

/// What a read found.
package struct ReadResult: Equatable, Sendable {
  /// The byte that all of the range is; nil if it differs.
  package var uniform: UInt8?
  /// The first byte that is not the expected one.
  package var firstDifference: UInt64?
  /// Up to 16 bytes from the start.
  package var first: [UInt8] = []
}

/// Does requests of a guest on an image.
struct GuestRequests {
  /// Bytes per call into the engine for long requests; whole clusters of every size.
  static let piece: UInt64 = 8 << 20

  private let image: Image

  init(_ image: Image) { self.image = image }

  /// Throws ``ImageError`` for a range that does not lie on the disk.
  func check(_ request: Request) throws(ImageError) {
    let size = image.geometry.virtualSize
    guard request.offset < size, request.length <= size - request.offset else {
      throw ImageError(
        .invalidRequest,
        "the range 0x\(Notation.hex(request.offset)) +\(Notation.compact(request.length)) reaches behind the end "
          + "of the disk at 0x\(Notation.hex(size))")
    }
  }

  /// Reads a range in pieces; nil if `stops`, asked between them with the share done, ended it. Throws
  /// ``ImageError`` for a range that does not lie on the disk, and for damage.
  func read(_ request: Request, unless stops: (Double) -> Bool) throws(ImageError) -> ReadResult? {
    try check(request)
    var result = ReadResult()
    guard case .read(let expected, _) = request.kind else { return result }
    var buffer = [UInt8](repeating: 0, count: Int(min(request.length, Self.piece)))
    var isUniform = true
    var at: UInt64 = 0
    while at < request.length {
      let count = Int(min(UInt64(buffer.count), request.length - at))
      var failure: ImageError?
      unsafe buffer.withUnsafeMutableBytes { bytes in
        do throws(ImageError) {
          unsafe try image.read(
            at: GuestOffset(request.offset + at),
            into: UnsafeMutableRawBufferPointer(rebasing: bytes[0..<count]))
        } catch { failure = error }
      }
      if let failure { throw failure }
      if at == 0 {
        result.first = Array(buffer.prefix(min(count, 16)))
        result.uniform = buffer.first
      }
      unsafe buffer.withUnsafeBytes { bytes in
        let piece = unsafe UnsafeRawBufferPointer(rebasing: bytes[0..<count])
        if isUniform, let first = result.uniform, unsafe piece.firstIndex(otherThan: first) != nil {
          isUniform = false
        }
        if let expected, result.firstDifference == nil,
          let index = unsafe piece.firstIndex(otherThan: expected)
        {
          result.firstDifference = request.offset + at + UInt64(index)
        }
      }
      at += UInt64(count)
      if at < request.length, stops(Double(at) / Double(request.length)) { return nil }
    }
    if !isUniform { result.uniform = nil }
    return result
  }

  /// Requests up to 64 MiB go to the engine in one call, as a guest would send them. Longer ones are
  /// cut at whole multiples, so that `stops` can be asked between the pieces, with the share done. Throws what
  /// the engine says.
  ///
  /// - Returns: false if it was stopped.
  func perform(_ request: Request, unless stops: (Double) -> Bool) throws(ImageError) -> Bool {
    let step = request.length <= 8 * Self.piece ? request.length : Self.piece
    var pattern: [UInt8] = []
    if case .write(let byte) = request.kind { pattern = Array(repeating: byte, count: Int(step)) }
    var at: UInt64 = 0
    while at < request.length {
      // The first piece ends at a multiple, the others are whole.
      let rest = step - (step == request.length ? 0 : (request.offset + at) % step)
      let count = min(request.length - at, rest)
      let start = GuestOffset(request.offset + at)
      switch request.kind {
      case .write:
        var failure: ImageError?
        unsafe pattern.withUnsafeBytes { bytes in
          do throws(ImageError) {
            unsafe try image.write(UnsafeRawBufferPointer(rebasing: bytes[0..<Int(count)]), at: start)
          } catch { failure = error }
        }
        if let failure { throw failure }
      case .zero(let mayUnmap): try image.writeZeroes(at: start, count: ByteCount(count), mayUnmap: mayUnmap)
      case .discard: try image.discard(at: start, count: ByteCount(count))
      case .read: return true
      }
      at += count
      if at < request.length, stops(Double(at) / Double(request.length)) { return false }
    }
    return true
  }
}
