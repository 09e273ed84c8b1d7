// Disks that a verb reads and does not change, by the word on the command line: a file name or an option string,
// an image or a raw file.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import QcowFormat
import Storage
import ToolText

/// A disk that is only read.
struct SourceDisk {
  /// How the words for sources are read.
  struct Words {
    /// `-f`; nil for what a file turns out to be.
    var format: String?
    /// The word is an option string.
    var isOptions = false
    /// Nobody may write the file meanwhile, also if it has no tables.
    var refusesWriters = false
  }

  let layer: any GuestLayer
  private let file: any Storage
  private let chain: ChainOpener

  /// Opens a disk with everything below it. Damage that reading meets is told.
  init(
    _ word: String, _ words: Words, _ flags: ChainFlags, _ share: ShareFlag, _ unlock: UnlockOptions,
    _ streams: Streams
  ) throws {
    var request = try Opening.request(
      word, words.format, isOptions: words.isOptions, flags, share, streams)
    request.policy.refusesWriters = words.refusesWriters
    do throws(Opening.Refusal) {
      var opening = request.opening(words.format)
      opening.demand = .look
      opening.secret = { file throws(ImageError) in try unlock.needed(request, for: file) }
      let opened = try Opening.open(opening, streams)
      chain = opened.chain
      file = opened.file
      layer = opened.image ?? RawLayer(opened.storage)
      opened.image?.report = { streams.error(Escaping.human($0) + "\n") }
    } catch { throw Opening.failure(word, error, streams) }
    if layer is RawLayer { chain.startChain() }
  }

  /// Shows a snapshot in place of the disk as it is now.
  func show(_ choice: SnapshotChoice, _ streams: Streams) throws {
    do throws(CreateRequest.Refusal) {
      let (image, snapshot) = try choice.find(in: layer)
      do throws(ImageError) { try image.show(snapshot) } catch {
        throw CreateRequest.Refusal("Failed to load snapshot: \(Escaping.human(error.description))")
      }
      if !Tool.isStandIn, let size = snapshot.diskSize, size != image.virtualSize {
        streams.error(
          "note: the disk had \(size) bytes at the snapshot; it is read as if it had \(image.virtualSize), as now\n"
        )
      }
    } catch { throw streams.failure(error.description) }
  }

  /// The file at a path is the image itself, whose lock keeps writers away.
  func isKept(_ path: String) -> Bool {
    guard layer is Image, let identity = (file as? FileStorage)?.hostIdentity else { return false }
    return (try? HostFile.find(path))?.identity == identity
  }

  /// The file at a path is read for the disk, so that it must not be written.
  func uses(_ path: String) -> Bool { chain.hasOpened(path) }
}

extension SourceDisk {
  /// Why a target cannot be written.
  static let targetIsSource = "the target is one of the files that are read for it"
}

extension Tool {
  /// Why something failed: the genuine tools know only the numbers of errors.
  static func reason(_ error: ImageError) -> String {
    isStandIn ? error.hostReason : Escaping.human(error.description)
  }
}
