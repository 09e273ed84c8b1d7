// Zeroed memory in blocks of one size, for counts that are asked for in any order: many of them lie in large pages of
// the host, as each look at a count would cost a walk through its tables of small pages otherwise.

import Glibc

/// Gives out blocks of one size and keeps those that come back.
@safe final class BlockPool {
  /// A large page of the host.
  private static let slabBytes = 2 << 20
  /// The first blocks are made one by one: a small image needs no large page.
  private static let mostSingle = 64

  /// Bytes of a block.
  let bytes: Int
  private var single = 0
  /// What is given back to the host at the end.
  private var owned: [UnsafeMutableRawPointer] = unsafe []
  private var free: [UnsafeMutableRawPointer] = unsafe []
  /// What no block of the last slab has taken.
  private var rest: UnsafeMutableRawBufferPointer?

  /// Blocks of so many bytes, at most a slab.
  init(bytes: Int) {
    precondition(bytes > 0 && bytes <= Self.slabBytes)
    self.bytes = bytes
  }

  deinit { while let block = unsafe owned.popLast() { unsafe block.deallocate() } }

  /// A block of zeroes, which stays as long as the pool.
  func take() -> UnsafeMutableRawPointer {
    let block = unsafe free.popLast() ?? next()
    unsafe block.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
    return unsafe block
  }

  /// A block that nobody uses any more.
  func giveBack(_ block: UnsafeMutableRawPointer) { unsafe free.append(block) }

  private func next() -> UnsafeMutableRawPointer {
    if single < Self.mostSingle {
      single += 1
      let block = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
      unsafe owned.append(block)
      return unsafe block
    }
    if let left = unsafe rest, let base = left.baseAddress, left.count >= bytes {
      unsafe rest = UnsafeMutableRawBufferPointer(rebasing: left[bytes...])
      return unsafe base
    }
    let slab = UnsafeMutableRawPointer.allocate(byteCount: Self.slabBytes, alignment: Self.slabBytes)
    // Only a wish.
    unsafe madvise(slab, Self.slabBytes, MADV_HUGEPAGE)
    unsafe owned.append(slab)
    unsafe rest = UnsafeMutableRawBufferPointer(start: slab + bytes, count: Self.slabBytes - bytes)
    return unsafe slab
  }
}
