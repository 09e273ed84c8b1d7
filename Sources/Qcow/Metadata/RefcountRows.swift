// The refcounts of an image as they are now, in rows of clusters that are free or in use.

package import QcowFormat

/// Where clusters of a file are free, and where they are in use.
package struct RefcountRows {
  private let refcounts: RefcountBlocks

  package init(_ image: Image) { refcounts = image.refcounts }

  /// How many host clusters in a row have no user, or all have one, from `first` on and at most `limit`.
  ///
  /// - Throws: As ``Image/refcount(of:)``.
  package func clusters(
    from first: HostCluster, limit: ClusterCount, areFree: Bool
  ) throws(ImageError) -> ClusterCount {
    try refcounts.clusters(from: first, limit: limit, areFree: areFree)
  }
}
