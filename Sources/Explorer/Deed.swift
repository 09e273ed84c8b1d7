// What an operation is called, where it takes place and how it is watched: the same for guest requests, for
// changes of the image and for what saving does.

import Cartography
import Live
import Qcow

/// Something that is about to be done, as far as the log and the watch care.
struct Deed {
  let title: String
  /// Bytes of the disk that it is about; nil if it is about the image as a whole.
  let range: Range<UInt64>?
  /// It may take long, and is dropped in an instant.
  let isLong: Bool
  /// Clusters that belong to more than one are written by right.
  let writesSharedTables: Bool
  /// It sets counts right that do not fit what is in use, which looks like taking what others have.
  let mendsCounts: Bool

  init(_ request: Request) {
    title = request.commandLine
    range = request.offset..<max(request.offset, request.offset &+ request.length)
    isLong = request.length > 8 * GuestRequests.piece
    writesSharedTables = false
    mendsCounts = false
  }

  /// What saving does before it saves.
  static let storingBitmaps = Deed(CommandID.storeBitmaps.name)

  private init(_ title: String) {
    self.title = title
    range = nil
    isLong = true
    writesSharedTables = false
    mendsCounts = false
  }

  /// A request of a guest that is held up, by its line.
  init(guest request: ServedRequest) {
    title = LiveWords.request(request.kind, request.offset, request.length)
    range = request.length == 0 ? nil : request.offset..<request.offset &+ request.length
    isLong = true
    writesSharedTables = false
    mendsCounts = false
  }

  /// What a lesson has done to the file, by its line.
  init(lesson title: String) {
    self.title = title
    range = nil
    isLong = true
    writesSharedTables = true
    mendsCounts = true
  }

  init(_ change: any Change) {
    title = change.commandLine
    range = nil
    isLong = true
    writesSharedTables = type(of: change).words.writesSharedTables
    mendsCounts = type(of: change).words.mendsCounts
  }
}
