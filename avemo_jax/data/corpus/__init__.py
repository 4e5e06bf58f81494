"""Official trees and a user's own: videos, crops, annotations and splits."""
