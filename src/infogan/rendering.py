"""Triangle meshes to small grey pictures on white, off screen, by VTK.

Two renderers were measured on faces of 22,288 triangles, one core: VTK 9.7 gave 180 pictures of
64x64 a second, mitsuba 3.9 22 of 32x32 (most of it the tree of a new mesh); docs/benchmarks.md.
"""

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np

from infogan.errors import UserError

MARGIN = 1.05  # half the picture's height in units of the mesh, which is 2 high


class Renderer:
    """Pictures of meshes with the same triangles, seen from in front of their z axis.

    A parallel projection; the light comes from infinitely far. Not picklable and of one process:
    the graphics library keeps its state.
    """

    def __init__(self, triangles: np.ndarray, side: int, ambient: float = 0.25) -> None:
        vtk = _vtk()
        self._vtk, self._side = vtk, side
        self._triangles = triangles
        vertices = int(triangles.max()) + 1
        self._positions = np.zeros((vertices, 3), np.float32)
        self._normals = np.zeros((vertices, 3), np.float32)
        self._corners = _corner_matrix(triangles, vertices)
        self._mesh = self._make_mesh()

        actor = vtk.vtkActor()
        mapper = vtk.vtkPolyDataMapper()
        mapper.SetInputData(self._mesh)
        actor.SetMapper(mapper)
        surface = actor.GetProperty()
        surface.SetAmbient(ambient)
        surface.SetDiffuse(1 - ambient)
        surface.SetSpecular(0)

        scene = vtk.vtkRenderer()
        scene.SetBackground(1, 1, 1)
        scene.AutomaticLightCreationOff()
        scene.AddActor(actor)
        self._light = vtk.vtkLight()
        self._light.SetLightTypeToSceneLight()
        self._light.PositionalOff()
        self._light.SetFocalPoint(0, 0, 0)
        scene.AddLight(self._light)
        camera = scene.GetActiveCamera()
        camera.ParallelProjectionOn()
        camera.SetParallelScale(MARGIN)
        camera.SetPosition(0, 0, 10)
        camera.SetFocalPoint(0, 0, 0)
        camera.SetViewUp(0, 1, 0)
        camera.SetClippingRange(1, 20)
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)  # smoothing differs between graphics libraries
        self._window.SetSize(side, side)
        self._window.AddRenderer(scene)

    def render(self, vertices: np.ndarray, light: tuple[float, float, float]) -> np.ndarray:
        """Picture of float32 (V, 3) vertices within [-1, 1]: uint8 (side, side).

        ``light`` points from the mesh to the light.
        """
        self._positions[:] = vertices
        edges = [vertices[self._triangles[:, i]] for i in range(3)]
        faces = np.cross(edges[1] - edges[0], edges[2] - edges[0])
        normals = self._corners @ faces
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        self._normals[:] = normals / np.maximum(length, 1e-12)
        self._mesh.GetPoints().GetData().Modified()
        self._mesh.GetPointData().GetNormals().Modified()
        self._mesh.GetPoints().Modified()
        self._mesh.Modified()
        self._light.SetPosition(*light)
        self._window.Render()
        pixels = self._vtk.vtkUnsignedCharArray()
        last = self._side - 1
        self._window.GetPixelData(0, 0, last, last, 1, pixels, 0)
        rgb = self._to_numpy(pixels).reshape(self._side, self._side, 3)
        return np.ascontiguousarray(rgb[::-1, :, 0])

    def _to_numpy(self, array: Any) -> np.ndarray:
        from vtkmodules.util.numpy_support import vtk_to_numpy

        return np.asarray(vtk_to_numpy(array))

    def _make_mesh(self) -> Any:
        from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray

        vtk = self._vtk
        points = vtk.vtkPoints()
        points.SetData(numpy_to_vtk(self._positions))  # shares the memory
        cells = vtk.vtkCellArray()
        offsets = np.arange(0, 3 * len(self._triangles) + 1, 3)
        cells.SetData(
            numpy_to_vtkIdTypeArray(offsets, deep=1),
            numpy_to_vtkIdTypeArray(self._triangles.ravel(), deep=1),
        )
        mesh = vtk.vtkPolyData()
        mesh.SetPoints(points)
        mesh.SetPolys(cells)
        mesh.GetPointData().SetNormals(numpy_to_vtk(self._normals))
        return mesh


def rotation(azimuth: float, elevation: float) -> np.ndarray:
    """Rotation of a mesh so that it is seen from this side and height, in degrees: (3, 3).

    Azimuth turns it about its own y axis first, elevation then tips it towards the viewer.
    """
    a, e = np.radians(azimuth), np.radians(elevation)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    tip = np.array([[1, 0, 0], [0, np.cos(e), -np.sin(e)], [0, np.sin(e), np.cos(e)]])
    return np.asarray(tip @ turn)


def _corner_matrix(triangles: np.ndarray, vertices: int) -> Any:
    """Sums triangles' normals into their corners': (V, T), sparse."""
    from scipy.sparse import csr_matrix

    count = len(triangles)
    places = (triangles.ravel(), np.repeat(np.arange(count), 3))
    return csr_matrix((np.ones(3 * count, np.float32), places), shape=(vertices, count))


def _vtk() -> Any:
    """The classes of VTK that are used; UserError if it cannot draw here."""
    try:
        import vtkmodules.vtkRenderingOpenGL2  # registers the renderer
        from vtkmodules import vtkRenderingCore
        from vtkmodules.vtkCommonCore import vtkLogger, vtkPoints, vtkUnsignedCharArray
        from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
    except ModuleNotFoundError:
        raise UserError("Rendering needs VTK: pip install 'infogan[faces]'.") from None
    assert vtkmodules.vtkRenderingOpenGL2
    libraries = ("libEGL.so.1", "libOSMesa.so.8", "libOSMesa.so.6")
    if sys.platform == "linux" and not any(map(_loads, libraries)):
        raise UserError(
            "Rendering without a screen needs a graphics library, EGL or OSMesa, for instance "
            "from Debian's packages libegl1 and libegl-mesa0."
        )
    # Without a screen VTK says so at every start, before it takes what works.
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)
    names = ("Actor", "Camera", "Light", "PolyDataMapper", "Renderer", "RenderWindow")
    found = {f"vtk{name}": getattr(vtkRenderingCore, f"vtk{name}") for name in names}
    kinds = (vtkPoints, vtkUnsignedCharArray, vtkCellArray, vtkPolyData)
    return SimpleNamespace(**found, **{kind.__name__: kind for kind in kinds})


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
