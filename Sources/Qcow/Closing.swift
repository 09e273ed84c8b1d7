// The end of a session: every part of it is tried, and what is lost is told part by part.

import QcowFormat
import Storage

/// What is tried when an image is closed.
struct Closing {
  private let image: Image
  private let writer: GuestWriter
  private let tell: ((String) -> Void)?
  private var first: ImageError?

  /// `tell` takes what is lost, complete sentences.
  init(_ image: Image, _ writer: GuestWriter, _ tell: ((String) -> Void)?) {
    self.image = image
    self.writer = writer
    self.tell = tell
  }

  /// Brings everything to the file. Throws the first error, when all has been tried.
  static func run(_ image: Image, _ writer: GuestWriter, _ tell: ((String) -> Void)?) throws(ImageError) {
    var closing = Closing(image, writer, tell)
    closing.run()
    if let first = closing.first { throw first }
  }

  private mutating func run() {
    let (tables, l2, refcounts, writer) = (image.tables, image.l2, image.refcounts, writer)
    // Only who lets requests fail can tell this flush from those behind it.
    let name = tables.storage.nameOfFaults.map { "Failed flush for '\($0)' during close" }
    if let name { attempt(name) { () throws(ImageError) in try writer.editor.flush() } }
    // Everything else is brought to the file even if the bitmaps are not. The genuine tool writes all anew
    // whatever was done.
    do throws(ImageError) { try writer.bitmaps?.store(with: writer.editor) } catch {
      image.health.report?("Lost persistent bitmaps during inactivation: \(error)")
    }
    attempt("Failed to flush the L2 table cache") { () throws(ImageError) in try l2.cache.flush() }
    attempt("Failed to flush the refcount block cache") { () throws(ImageError) in
      try refcounts.cache.flush()
    }
    if first == nil, tables.header.incompatible.contains(.dirty) {
      // The image is only repaired without need when it is opened next.
      attempt(nil) { () throws(ImageError) in
        try tables.rewriteHeader { $0.header.incompatible.remove(.dirty) }
        try tables.flush()
      }
    }
    if let name { attempt(name) { () throws(ImageError) in try tables.flush() } }
  }

  /// Runs a part; one that fails stops no other, and behind damage nothing is written. Without words nothing is said
  /// of it.
  private mutating func attempt(_ failure: String?, _ body: () throws(ImageError) -> Void) {
    do throws(ImageError) { try image.health.guarded(body) } catch {
      if let failure, error.code != .outOfService { tell?("\(failure): \(error.reason)") }
      if first == nil { first = error }
    }
  }
}
