// Passphrases and keys: bytes that are overwritten when their owner lets go of them, and that never
// pass through an array or a string of this program, which would leave copies behind.

internal import Glibc

/// Secret bytes; wiped when the object goes away.
@safe
package final class Secret {
  private let memory: UnsafeMutableRawBufferPointer
  /// Bytes.
  package let count: Int

  /// Room for at most `capacity` bytes, which `fill` writes; it returns how many there are.
  ///
  /// - Throws: What `fill` throws.
  package init<Failure: Error>(
    capacity: Int, _ fill: (UnsafeMutableRawBufferPointer) throws(Failure) -> Int
  ) throws(Failure) {
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, capacity), alignment: 16)
    unsafe room.initializeMemory(as: UInt8.self, repeating: 0)
    do throws(Failure) {
      count = unsafe min(
        max(0, capacity),
        max(0, try fill(UnsafeMutableRawBufferPointer(rebasing: room[0..<max(0, capacity)]))))
    } catch {
      unsafe Self.wipe(room)
      unsafe room.deallocate()
      throw error
    }
    unsafe memory = room
  }

  /// A copy of bytes; the caller wipes its own.
  package convenience init(copying bytes: UnsafeRawBufferPointer) {
    unsafe self.init(capacity: bytes.count) { (room) throws(Never) in
      unsafe room.copyMemory(from: bytes)
      return bytes.count
    }
  }

  deinit {
    unsafe Self.wipe(memory)
    unsafe memory.deallocate()
  }

  /// The bytes, valid only inside `body`.
  ///
  /// - Throws: What `body` throws.
  package func withBytes<Result, Failure: Error>(
    _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    unsafe try body(UnsafeMutableRawBufferPointer(rebasing: memory[0..<count]))
  }

  /// Overwrites memory in a way that the compiler may not leave out.
  package static func wipe(_ bytes: UnsafeMutableRawBufferPointer) {
    guard let base = bytes.baseAddress, bytes.count > 0 else { return }
    unsafe explicit_bzero(base, bytes.count)
  }
}
